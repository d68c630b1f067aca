//! Principals: who stands behind an event, as the door says by which it came in.
//!
//! A door is the HTTP API (the principal of the token), the socket of a running pipeline or a command on a directory at
//! rest (`unix:` and the user's number). It writes the principal into a header of the event's record, which counts only
//! on lanes that nobody but doors may write to.

use thiserror::Error;

/// Header of an event's record in which a door says who sent it.
pub const HEADER: &str = "ledgerflow-principal";
/// Longest name of a principal, bytes.
pub const BYTES_MAX: usize = 64;
/// How it is shown that nobody is known.
pub const NOBODY: &str = "-";

/// Why a text names no principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PrincipalError {
    /// Empty, or too long.
    #[error("expected 1 to 64 bytes")]
    Length,
    /// A control character.
    #[error("expected no control character")]
    Control,
    /// The word for nobody.
    #[error("\"-\" stands for nobody")]
    Nobody,
}

/// Whether a text can be a principal's name.
///
/// # Errors
/// [`PrincipalError`].
pub fn check(name: &str) -> Result<(), PrincipalError> {
    if name.is_empty() || name.len() > BYTES_MAX {
        return Err(PrincipalError::Length);
    }
    if name.chars().any(char::is_control) {
        return Err(PrincipalError::Control);
    }
    if name == NOBODY { Err(PrincipalError::Nobody) } else { Ok(()) }
}

/// The principal of a user of this machine.
#[must_use]
pub fn of_user(uid: u32) -> String {
    format!("unix:{uid}")
}

/// As people see it.
#[must_use]
pub const fn shown(name: &str) -> &str {
    if name.is_empty() { NOBODY } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_principal() {
        let long = "x".repeat(BYTES_MAX);
        for name in ["anna", "unix:1000", "team a", &long] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        assert_eq!(check(&of_user(u32::MAX)), Ok(()));
        for (name, why) in [
            ("", PrincipalError::Length),
            (&*format!("{long}x"), PrincipalError::Length),
            ("a\nb", PrincipalError::Control),
            ("-", PrincipalError::Nobody),
        ] {
            assert_eq!(check(name), Err(why), "{name:?}");
        }
        assert_eq!((shown(""), shown("anna")), ("-", "anna"));
    }
}
