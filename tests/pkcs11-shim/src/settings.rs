//! Where the real module, the control file and the counts are.

use std::path::PathBuf;

pub(crate) struct Settings {
    pub(crate) module: PathBuf,
    pub(crate) control: Option<PathBuf>,
    pub(crate) counts: Option<PathBuf>,
}

impl Settings {
    /// From the file beside this library if there is one, else from the environment.
    pub(crate) fn read() -> Result<Self, String> {
        let beside = own_path().and_then(|path| std::fs::read_to_string(path + ".conf").ok());
        let setting = |name: &str| match &beside {
            Some(text) => text
                .lines()
                .find_map(|line| line.split_once('=').filter(|(key, _)| *key == name))
                .map(|(_, value)| value.into()),
            None => std::env::var_os(name).map(PathBuf::from),
        };
        Ok(Self {
            module: setting("PKCS11_SHIM_MODULE").ok_or("PKCS11_SHIM_MODULE is not set")?,
            control: setting("PKCS11_SHIM_CONTROL"),
            counts: setting("PKCS11_SHIM_COUNTS"),
        })
    }
}

/// The path of this library: the file that is mapped where this function is.
fn own_path() -> Option<String> {
    let address = own_path as fn() -> Option<String> as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let hexadecimal = |text| usize::from_str_radix(text, 16).ok();
        let is_here = (hexadecimal(start)?..hexadecimal(end)?).contains(&address);
        is_here.then(|| rest.find('/').map(|at| rest[at..].to_owned()))?
    })
}
