//! The programs that a site is poked with from outside: curl as the official client calls it, and SoftHSM's tool.

use std::process::{Command, Output};

use super::site::{ACCESS_KEY_ID, PIN, SECRET_ACCESS_KEY, Site};

impl Site {
    /// Everything that curl prints, its account of the exchange included.
    pub fn curl(&self, arguments: &[&str]) -> String {
        let Output { stdout, stderr, .. } = Command::new("curl")
            .args(["--silent", "--show-error", "--include", "--verbose", "--max-time", "20", "--cacert"])
            .arg(self.path("ca.pem"))
            .args(arguments)
            .output()
            .unwrap();
        format!("{}\n{}", String::from_utf8_lossy(&stderr), String::from_utf8_lossy(&stdout))
    }

    /// A POST signed by curl itself, under the prefix of the store `test`.
    pub fn curl_signed(&self, port: u16, path: &str, body: &str, arguments: &[&str]) -> String {
        let url = format!("https://localhost:{port}/test/kms/xks/v1/{path}");
        let user = format!("{ACCESS_KEY_ID}:{SECRET_ACCESS_KEY}");
        let signed = [
            "--aws-sigv4",
            "aws:amz:us-east-1:kms-xks-proxy",
            "--user",
            &user,
            "--header",
            "Content-Type: application/json",
            "--request",
            "POST",
            "--data-binary",
            body,
            &url,
        ];
        self.curl(&[&signed, arguments].concat())
    }

    /// Puts an AES key of a known value into the token, as another tool would. The value is text, because the
    /// tool reads a line.
    pub fn import_key(&self, label: &str, id: &[u8], value: &str) {
        let file = self.path("imported");
        std::fs::write(&file, value).unwrap();
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let output = Command::new("softhsm2-util")
            .args(["--aes", "--token", "holdfast", "--pin", PIN, "--label", label, "--id", &id, "--import"])
            .arg(&file)
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}
