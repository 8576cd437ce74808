//! The control file and the counts: which call is harmed, and how often each function was called.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use cryptoki_sys::CK_FLAGS;
use cryptoki_sys::CK_RV;

use crate::functions::Function;
use crate::return_codes;

/// What happens to a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fault {
    /// The line it comes from.
    line: String,
    pub(crate) after: bool,
    pub(crate) code: Option<CK_RV>,
    pub(crate) corrupt: bool,
    pub(crate) crash: bool,
    pub(crate) delay: Duration,
    /// Of the token, besides those that it has.
    pub(crate) flags: CK_FLAGS,
    pub(crate) forget: bool,
    pub(crate) hang: bool,
    pub(crate) short: bool,
}

/// A line of the control file.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    /// Absent: any.
    function: Option<Function>,
    session: Option<usize>,
    /// The first call that is harmed, counted from one, and how many are.
    from: u64,
    count: u64,
    fault: Fault,
    calls_seen: u64,
}

pub(crate) struct Control {
    path: Option<PathBuf>,
    counts: Option<File>,
    state: Mutex<State>,
}

struct State {
    /// Modification time, size and inode of the file that was read.
    stamp: Option<[i128; 3]>,
    rules: Vec<Rule>,
    calls: Vec<u64>,
}

impl Control {
    pub(crate) fn open(path: Option<PathBuf>, counts: Option<&Path>) -> io::Result<Self> {
        let control = Self {
            path,
            counts: counts.map(File::create).transpose()?,
            state: Mutex::new(State { stamp: None, rules: Vec::new(), calls: vec![0; Function::ALL.len()] }),
        };
        Function::ALL.iter().for_each(|function| control.write_count(*function, 0));
        Ok(control)
    }

    /// Counts a call and says what is to happen to it.
    pub(crate) fn enter(&self, function: Function, first_argument: Option<usize>) -> Option<Fault> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = &mut state.calls[function as usize];
        *calls += 1;
        self.write_count(function, *calls);
        self.refresh(&mut state);
        let mut fault = None;
        for rule in state.rules.iter_mut().filter(|rule| rule.is_about(function, first_argument)) {
            rule.calls_seen += 1;
            let is_its_turn = rule.calls_seen >= rule.from && rule.calls_seen - rule.from < rule.count;
            if is_its_turn && fault.is_none() {
                fault = Some(rule.fault.clone());
            }
        }
        fault
    }

    /// Whether the file still has the line of this fault.
    pub(crate) fn still_names(&self, fault: &Fault) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresh(&mut state);
        state.rules.iter().any(|rule| rule.fault.line == fault.line)
    }

    /// Reads the file again if it is another one.
    fn refresh(&self, state: &mut State) {
        let Some(path) = &self.path else { return };
        let stamp = std::fs::metadata(path).ok().map(|file| {
            let modified = i128::from(file.mtime()) * 1_000_000_000 + i128::from(file.mtime_nsec());
            [modified, file.size().into(), file.ino().into()]
        });
        if stamp == state.stamp {
            return;
        }
        state.stamp = stamp;
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rules = lines.map(|line| {
            let known = state.rules.iter().find(|rule| rule.fault.line == line).cloned();
            known.or_else(|| Rule::parse(line)).unwrap_or_else(|| {
                eprintln!("pkcs11-shim: not understood: {line}");
                std::process::abort()
            })
        });
        state.rules = rules.collect();
    }

    /// Each function has a line of fixed width, so that a count can be written in place.
    fn write_count(&self, function: Function, calls: u64) {
        let line = format!("{:<24}{calls:>12}\n", format!("{function:?}"));
        if let Some(file) = &self.counts
            && let Err(error) = file.write_all_at(line.as_bytes(), (function as usize * line.len()) as u64)
        {
            eprintln!("pkcs11-shim: cannot write the counts: {error}");
            std::process::abort();
        }
    }
}

impl Rule {
    fn is_about(&self, function: Function, first_argument: Option<usize>) -> bool {
        self.function.is_none_or(|named| named == function)
            && self.session.is_none_or(|session| first_argument == Some(session))
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let function = match words.next()? {
            "*" => None,
            name => Some(*Function::ALL.iter().find(|function| format!("{function:?}") == name)?),
        };
        let fault = Fault { line: line.to_owned(), ..Fault::default() };
        let mut rule = Self { function, session: None, from: 1, count: u64::MAX, fault, calls_seen: 0 };
        words.try_for_each(|word| rule.take(word))?;
        rule.is_possible().then_some(rule)
    }

    fn take(&mut self, word: &str) -> Option<()> {
        match word.split_once('=') {
            None => match word {
                "after" => self.fault.after = true,
                "corrupt" => self.fault.corrupt = true,
                "crash" => self.fault.crash = true,
                "forget" => self.fault.forget = true,
                "hang" => self.fault.hang = true,
                "short" => self.fault.short = true,
                _ => return None,
            },
            Some(("code", code)) => self.fault.code = Some(return_codes::parse(code)?),
            Some(("count", count)) => self.count = count.parse().ok()?,
            Some(("delay_ms", delay)) => self.fault.delay = Duration::from_millis(delay.parse().ok()?),
            Some(("flags", flags)) => {
                self.fault.flags = CK_FLAGS::from_str_radix(flags.strip_prefix("0x")?, 16).ok()?;
            }
            Some(("from", from)) => self.from = from.parse().ok()?,
            Some(("session", session)) => self.session = Some(session.parse().ok()?),
            Some(_) => return None,
        }
        Some(())
    }

    /// Whether the fault names something to do, and the function can suffer it.
    fn is_possible(&self) -> bool {
        let nothing = Fault { line: self.fault.line.clone(), ..Fault::default() };
        let harms_output = self.fault.corrupt || self.fault.short;
        self.fault != nothing
            && (!harms_output || self.function.is_some_and(Function::has_output))
            && (self.fault.flags == 0 || self.function == Some(Function::C_GetTokenInfo))
            && (!self.fault.forget || self.function == Some(Function::C_FindObjects))
            && (!self.fault.after || self.fault.crash || self.fault.code.is_some())
    }
}
