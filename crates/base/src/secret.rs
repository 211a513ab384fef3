//! Values that must never be shown: passwords, keys. `Debug` prints `***`; there is no `Display`.

#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for handing to the one who needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret comes from. Configuration holds these; whoever needs the value resolves it on first use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// The value stands in the configuration itself.
    Literal(Secret),
    /// Name of an environment variable (`ENV:NAME`).
    Env(String),
    /// Absolute path of a file whose content, without the last line break, is the value (`FILE:/path`).
    File(String),
    /// Shell command whose standard output, without the last line break, is the value (`CMD:command`).
    Cmd(String),
}

/// Turns a reference into its value; messages of its errors never hold the value.
pub type Resolve = fn(&SecretRef) -> crate::Result<Secret>;
