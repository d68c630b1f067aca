//! Values of settings: which texts are one, and how one is shown.

use ingest::principals::Writers;
use schemas::dates::{Calendar, parse_instant};
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use stream::config::{ConfigError, Node, Setting, Shape, read_text};
use stream::settings;

/// A whole number from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(pub NonZero<u32>);

impl Setting for Number {
    fn shape() -> Shape {
        Shape::Value("a whole number from 1".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, Self::shape().expected(), |text| text.parse().ok().map(Self))
    }

    fn render(&self) -> String {
        self.0.to_string()
    }
}

/// Where a server listens; `None` = nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl Setting for Listen {
    fn shape() -> Shape {
        Shape::Value("an address and a port such as 127.0.0.1:8080".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, Self::shape().expected(), |text| match text {
            "" => Some(Self(None)),
            _ => text.parse().ok().map(|address| Self(Some(address))),
        })
    }

    fn render(&self) -> String {
        self.0.map(|address| address.to_string()).unwrap_or_default()
    }
}

impl Listen {
    /// The same with a port so much higher; any port stays any port. `None` = there is no such port.
    #[must_use]
    pub fn shifted(self, by: u16) -> Option<Self> {
        let Some(mut address) = self.0.filter(|address| address.port() != 0) else { return Some(self) };
        address.set_port(address.port().checked_add(by)?);
        Some(Self(Some(address)))
    }
}

/// Who writes to a lane of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneWriters(pub Writers);

impl Setting for LaneWriters {
    fn shape() -> Shape {
        Shape::Value("`anyone`, `doors` or the name of a principal".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, Self::shape().expected(), |text| text.parse().ok().map(Self))
    }

    fn render(&self) -> String {
        self.0.to_string()
    }
}

/// Address of a collector of traces; empty = there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collector(String);

impl Collector {
    /// What is expected of one.
    pub const EXPECTED: &str = "a URL such as http://localhost:4318 (plain HTTP, no user)";

    /// The address in a text; `None` = it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_one = |uri: axum::http::Uri| {
            let host =
                uri.authority().is_some_and(|host| !host.as_str().contains('@') && !host.host().is_empty());
            host && uri.scheme_str() == Some("http") && uri.query().is_none()
        };
        (text.is_empty() || text.parse().is_ok_and(is_one)).then(|| Self(text.to_owned()))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Collector {
    fn shape() -> Shape {
        Shape::Value(Self::EXPECTED.to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, Self::shape().expected(), Self::parse)
    }

    fn render(&self) -> String {
        self.0.clone()
    }
}

/// The name of a book. It stands in keys, between `|`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookName(pub String);

impl Setting for BookName {
    fn shape() -> Shape {
        Shape::Value("a name of 1 to 64 bytes, without bars and control characters".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        let valid = |name: &str| {
            let plain = !name.contains(|c: char| c == '|' || c.is_control());
            (plain && (1..=64).contains(&name.len())).then(|| Self(name.to_owned()))
        };
        read_text(node, key, Self::shape().expected(), valid)
    }

    fn render(&self) -> String {
        self.0.clone()
    }
}

/// The name of a time zone that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone(pub String);

impl Setting for TimeZone {
    fn shape() -> Shape {
        Shape::Value("an IANA time zone such as Asia/Shanghai".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        let known = |name: &str| Calendar::new(name, "00:00").is_ok().then(|| Self(name.to_owned()));
        read_text(node, key, Self::shape().expected(), known)
    }

    fn render(&self) -> String {
        self.0.clone()
    }
}

/// A time of day at which a business day begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOff(pub String);

impl Setting for CutOff {
    fn shape() -> Shape {
        Shape::Value("a time of day such as 00:00".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        let valid = |text: &str| Calendar::new("UTC", text).is_ok().then(|| Self(text.to_owned()));
        read_text(node, key, Self::shape().expected(), valid)
    }

    fn render(&self) -> String {
        self.0.clone()
    }
}

/// A moment, microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant(pub i64);

impl Setting for Instant {
    fn shape() -> Shape {
        Shape::Value("a time such as 2026-11-21T09:30:00Z".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, Self::shape().expected(), |text| parse_instant(text).ok().map(Self))
    }

    fn render(&self) -> String {
        schemas::dates::format_instant(self.0)
    }
}

/// Shares of the three lanes, high, normal and low.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneWeights(pub [u32; 3]);

impl Setting for LaneWeights {
    fn shape() -> Shape {
        Shape::Value("three whole numbers from 1 to 1000000 such as 6:3:1".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        read_text(node, key, Self::shape().expected(), |text| {
            let weights: Option<Vec<u32>> = text.split(':').map(|part| part.trim().parse().ok()).collect();
            let weights = <[u32; 3]>::try_from(weights?).ok()?;
            weights.iter().all(|weight| (1..=1_000_000).contains(weight)).then_some(Self(weights))
        })
    }

    fn render(&self) -> String {
        let [high, normal, low] = self.0;
        format!("{high}:{normal}:{low}")
    }
}

/// How bills are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BillFormat {
    /// WeChat Pay trade bill, every layout, plain or gzip.
    WechatTrade,
    /// Alipay merchant detail (业务明细): the ZIP, or its detail alone.
    AlipayDetail,
    /// Delimited text as the mapping in this file describes it.
    Mapped(Mapped),
}

settings! {
    /// Delimited text.
    pub struct Mapped {
        /// File with the mapping.
        mapping: PathBuf;
    }
}

impl Setting for BillFormat {
    fn shape() -> Shape {
        Shape::Value("wechat_trade or alipay_detail or {mapping: FILE}".to_owned())
    }

    fn read(node: &Node, key: &str) -> Result<Self, ConfigError> {
        if node.is_section() {
            return Mapped::read(node, key).map(Self::Mapped);
        }
        read_text(node, key, Self::shape().expected(), |text| match text {
            "wechat_trade" => Some(Self::WechatTrade),
            "alipay_detail" => Some(Self::AlipayDetail),
            _ => None,
        })
    }

    fn render(&self) -> String {
        match self {
            Self::WechatTrade => "wechat_trade".to_owned(),
            Self::AlipayDetail => "alipay_detail".to_owned(),
            Self::Mapped(mapped) => format!("{{mapping: {}}}", mapped.mapping.display()),
        }
    }
}
