//! The SQL of a module, named, and all of it in a list, so that a test can look at every query plan.

/// Declares each statement as a constant, and `ALL` of them.
macro_rules! statements {
    ($($(#[$meta:meta])* $name:ident = $sql:literal;)+) => {
        $($(#[$meta])* const $name: &str = $sql;)+

        #[cfg(test)]
        pub(super) const ALL: &[&str] = &[$($name),+];
    };
}

pub(super) use statements;
