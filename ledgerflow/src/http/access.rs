//! Who may do what: bearer tokens, of which a file holds names, rights and hashes.
//!
//! A token is 32 random bytes in hex, so that its SHA-256 tells nothing about it and needs no salt. The file is read at the
//! start; a change counts from the next start on.

use super::State;
use super::problem::{Kind, Problem};
use crate::cli::commands::WrongUse;
use crate::cli::output::Table;
use crate::query::Answer;
use anyhow::{Context, bail};
use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use schemas::{hex, principal};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Send events.
    Send,
    /// Ask for balances, entries, days, breaks, metrics and everything else that changes nothing.
    Read,
}

impl Right {
    /// Name in the file and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tokens: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    name: String,
    sha256: String,
    may: BTreeSet<Right>,
    /// Who uses it, where that is not its name: several tokens of one principal are one.
    principal: Option<String>,
}

/// What a token is good for.
#[derive(Debug)]
pub struct Holder {
    may: BTreeSet<Right>,
    principal: String,
}

/// Who sends a request, as the door knows it; empty = nobody is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Sender(pub(super) String);

/// Who may do what.
#[derive(Debug, Default)]
pub enum Access {
    /// Everybody who reaches the port may do everything.
    #[default]
    Open,
    /// By the hash of a token.
    Tokens(BTreeMap<[u8; 32], Holder>),
}

impl Access {
    /// Reads the file of tokens.
    ///
    /// # Errors
    /// It cannot be read, or something in it is wrong: names file, place and what was expected.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let file: File = serde_saphyr::from_str(text)?;
        let (mut tokens, mut names) = (BTreeMap::new(), BTreeSet::new());
        if file.tokens.is_empty() {
            bail!("tokens: there is none, so nobody would be let in");
        }
        for listed in file.tokens {
            if listed.name.is_empty() || listed.may.is_empty() {
                bail!("token {:?}: expected a name, and something that it may do", listed.name);
            }
            let Some(hash) = hex::hash(&listed.sha256) else {
                bail!("token {}: sha256: expected 64 hex digits", listed.name);
            };
            if !names.insert(listed.name.clone()) {
                bail!("token {}: stands here a second time", listed.name);
            }
            let principal = listed.principal.unwrap_or_else(|| listed.name.clone());
            if let Err(why) = principal::check(&principal) {
                bail!("token {}: its principal is {principal:?}: {why}", listed.name);
            }
            if tokens.insert(hash, Holder { may: listed.may, principal }).is_some() {
                bail!("token {}: the same sha256 stands here under another name", listed.name);
            }
        }
        Ok(Self::Tokens(tokens))
    }

    /// Who gives this header, if he may do this.
    fn check(&self, header: Option<&str>, right: Right) -> Result<Sender, Problem> {
        let Self::Tokens(tokens) = self else { return Ok(Sender::default()) };
        let unknown = |why: &str| Problem::new(Kind::Unauthorized, why);
        let header = header.ok_or_else(|| unknown("expected a header `Authorization: Bearer TOKEN`"))?;
        let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(unknown("expected a header `Authorization: Bearer TOKEN`"));
        }
        // Found by its hash: how long that takes tells nothing about a token.
        let hash: [u8; 32] = Sha256::digest(token.trim().as_bytes()).into();
        let holder = tokens.get(&hash).ok_or_else(|| unknown("the token is not known"))?;
        if holder.may.contains(&right) {
            return Ok(Sender(holder.principal.clone()));
        }
        Err(Problem::new(Kind::Forbidden, format!("the token lacks the right {:?}", right.name())))
    }
}

/// Lets a request through whose token has the right, and notes whose it is.
pub(super) async fn guard(
    right: Right,
    state: State,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let sender = state.access.check(header, right)?;
    request.extensions_mut().insert(sender);
    Ok(next.run(request).await)
}

/// `token`: makes a token, and the line of the file that lets it in. Its principal is its name where none is given.
///
/// # Errors
/// A name that is none, or the system gives no random bytes.
pub fn make(name: &str, may: &[Right], principal: Option<&str>) -> anyhow::Result<Answer> {
    if name.is_empty() {
        return Err(WrongUse("a token needs a name".to_owned()).into());
    }
    if let Err(why) = principal::check(principal.unwrap_or(name)) {
        return Err(WrongUse(format!("the principal of a token: {why}")).into());
    }
    let mut bytes = [0_u8; 32];
    let taken =
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).context("random bytes")?;
    if taken != bytes.len() {
        bail!("random bytes: {taken} of {}", bytes.len());
    }
    let token = hex::text(&bytes);
    let may: BTreeSet<Right> = may.iter().copied().collect();
    let may: Vec<&str> = may.iter().map(|right| right.name()).collect();
    let name = serde_json::Value::from(name);
    let principal = principal.map(serde_json::Value::from);
    let principal = principal.map_or_else(String::new, |of| format!(", principal: {of}"));
    let line = format!(
        "- {{name: {name}, sha256: {}, may: [{}]{principal}}}",
        hex::text(&Sha256::digest(token.as_bytes())),
        may.join(", ")
    );
    let mut table = Table::new("token", &["token", "line"]);
    table.row([token.into(), line.into()]);
    let mut answer = Answer::tables(vec![table]);
    answer.message = Some(
        "the token is shown once; the line goes under `tokens:` in the file of `http.tokens`".to_owned(),
    );
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Cell;

    /// A new token with these rights, and the file that lets it in.
    fn made(may: &[Right]) -> (String, Access) {
        made_for(None, may)
    }

    /// The same, of that principal.
    fn made_for(principal: Option<&str>, may: &[Right]) -> (String, Access) {
        let answer = make("a: \"shop\"", may, principal).expect("made");
        let [Cell::Text(token), Cell::Text(line)] = &answer.tables[0].rows[0][..] else {
            panic!("two texts")
        };
        (token.clone(), Access::parse(&format!("tokens:\n{line}\n")).expect("its own line"))
    }

    #[test]
    fn a_token_may_do_what_its_line_says() {
        let (token, access) = made(&[Right::Send]);
        let check = |header: Option<&str>, right| access.check(header, right).map_err(|p| format!("{p:?}"));
        for scheme in ["Bearer", "bearer"] {
            check(Some(&format!("{scheme} {token}")), Right::Send).expect("its right");
        }
        let header = format!("Bearer {token}");
        assert!(check(Some(&header), Right::Read).expect_err("not its right").contains("lacks the right"));
        for header in [None, Some("Bearer "), Some("Bearer x"), Some("Basic eDp5"), Some(token.as_str())] {
            assert!(check(header, Right::Send).expect_err("nobody").contains("Unauthorized"), "{header:?}");
        }
        assert_ne!(made(&[Right::Send]).0, token);
        Access::Open.check(None, Right::Send).expect("open");
    }

    #[test]
    fn a_token_has_the_principal_of_its_line_or_its_name() {
        let line = |name: &str, token: &str, more: &str| {
            let hash = hex::text(&Sha256::digest(token.as_bytes()));
            format!("- {{name: {name}, sha256: {hash}, may: [send]{more}}}\n")
        };
        let text = format!(
            "tokens:\n{}{}{}",
            line("anna", "1", ""),
            line("anna-laptop", "2", ", principal: anna"),
            line("bert", "3", "")
        );
        let access = Access::parse(&text).expect("tokens");
        let of =
            |token: &str| access.check(Some(&format!("Bearer {token}")), Right::Send).expect("its right").0;
        assert_eq!(["1", "2", "3"].map(of), ["anna", "anna", "bert"]);
        assert_eq!(Access::Open.check(None, Right::Send).expect("open").0, "");
        for (principal, shown) in [(Some("an: \"a\""), "an: \"a\""), (None, "a: \"shop\"")] {
            let (token, access) = made_for(principal, &[Right::Send]);
            assert_eq!(
                access.check(Some(&format!("Bearer {token}")), Right::Send).expect("its right").0,
                shown
            );
        }
        assert!(make("a", &[Right::Send], Some("-")).is_err());
        assert!(make(&"n".repeat(65), &[Right::Send], None).is_err());
    }

    #[test]
    fn a_wrong_file_is_told() {
        let hash = "ab".repeat(32);
        for (text, want) in [
            (
                "tokens: [{name: a, sha256: zz, may: [read]}]".to_owned(),
                "token a: sha256: expected 64 hex digits",
            ),
            (
                format!("tokens: [{{name: a, sha256: {}, may: [read]}}]", "zz".repeat(32)),
                "expected 64 hex digits",
            ),
            (format!("tokens: [{{name: a, sha256: {hash}, may: [write]}}]"), "write"),
            (format!("tokens: [{{name: a, sha256: {hash}, may: [read], by: x}}]"), "by"),
            ("tokens: []".to_owned(), "tokens: there is none"),
            (
                format!("tokens: [{{name: a, sha256: {hash}, may: [read], principal: \"-\"}}]"),
                "token a: its principal is \"-\": \"-\" stands for nobody",
            ),
            (
                format!("tokens: [{{name: {}, sha256: {hash}, may: [read]}}]", "n".repeat(65)),
                "expected 1 to 64 bytes",
            ),
            (format!("tokens: [{{name: a, sha256: {hash}, may: []}}]"), "something that it may do"),
            (format!("tokens: [{{name: \"\", sha256: {hash}, may: [read]}}]"), "expected a name"),
            (
                format!(
                    "tokens: [{{name: a, sha256: {hash}, may: [read]}}, {{name: b, sha256: {hash}, may: [read]}}]"
                ),
                "token b: the same sha256 stands here under another name",
            ),
            (
                format!(
                    "tokens: [{{name: a, sha256: {hash}, may: [read]}}, {{name: a, sha256: {}, may: [read]}}]",
                    "cd".repeat(32)
                ),
                "token a: stands here a second time",
            ),
        ] {
            let why = format!("{:#}", Access::parse(&text).expect_err(&text));
            assert!(why.contains(want), "{text}: {why}");
        }
    }
}
