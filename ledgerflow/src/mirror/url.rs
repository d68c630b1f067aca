//! Where Redis is. The URL may hold a password, so it is shown masked only.

use std::fmt;
use std::str::FromStr;
use stream::config::{ConfigError, Node, Setting, Shape, masked, read_text};

/// URL of a Redis server; empty = there is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RedisUrl(String);

/// What is said of a value that is refused: it may hold a password.
const NOT_SHOWN: &str = "another text (not shown, as it may hold a password)";

impl RedisUrl {
    /// Whether there is no server.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A client, not connected yet.
    ///
    /// # Errors
    /// What the URL lacks; the text holds nothing of the URL.
    pub fn client(&self) -> redis::RedisResult<redis::Client> {
        redis::Client::open(self.0.as_str())
    }
}

impl FromStr for RedisUrl {
    type Err = redis::RedisError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Self(text.to_owned());
        url.client()?;
        Ok(url)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", masked(&self.0))
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

impl Setting for RedisUrl {
    fn shape() -> Shape {
        Shape::Secret("a URL such as redis://localhost:6379".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        let read = read_text(node, key, Self::shape().expected(), |text| text.parse().ok());
        read.map_err(|why| match why {
            ConfigError::Value { origin, key, expected, .. } => {
                ConfigError::Value { origin, key, found: NOT_SHOWN.to_owned(), expected }
            }
            other => other,
        })
    }

    fn render(&self) -> String {
        self.to_string()
    }
}
