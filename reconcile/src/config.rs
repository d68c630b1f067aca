//! Settings of both halves of reconcile: partitions, assets, and what is known of each provider.

use crate::decimal::Rounding;
use schemas::chart::Chart;
use schemas::dates::{Calendar, DateError, Day};
use schemas::shards::PARTITIONS_MAX;
use serde::Deserialize;
use std::collections::BTreeMap;
use thiserror::Error;

/// WeChat Pay, known without a setting.
pub const WECHAT: &str = "wechat";
/// Alipay, known without a setting.
pub const ALIPAY: &str = "alipay";
/// Time zone of the bill days of both.
const CHINA_ZONE: &str = "Asia/Shanghai";
const OTHERS_ZONE: &str = "UTC";

/// Settings of a provider (`reconcile.providers.NAME`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSettings {
    /// IANA time zone of its bill days.
    pub zone: String,
    /// How its fees become minor units before they are compared with ours.
    #[serde(default)]
    pub fee_rounding: Rounding,
}

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Time zone of a provider.
    #[error("reconcile.providers.{provider}.zone: {source}")]
    Zone {
        /// Provider.
        provider: String,
        /// Cause.
        source: DateError,
    },
    /// Number of partitions.
    #[error("partitions.internal: {0}, expected 1 to {PARTITIONS_MAX}")]
    Partitions(u32),
}

/// A provider, ready for use.
#[derive(Debug, Clone)]
pub struct Provider {
    calendar: Calendar,
    /// Rounding of fees.
    pub fee_rounding: Rounding,
}

impl Provider {
    fn new(name: &str, settings: &ProviderSettings) -> Result<Self, ConfigError> {
        let calendar = Calendar::new(&settings.zone, "00:00")
            .map_err(|source| ConfigError::Zone { provider: name.to_owned(), source })?;
        Ok(Self { calendar, fee_rounding: settings.fee_rounding })
    }

    /// Local date at the provider of an instant (microseconds since 1970-01-01T00:00:00Z).
    ///
    /// # Errors
    /// [`DateError::OutOfRange`].
    pub fn day_of(&self, us: i64) -> Result<Day, DateError> {
        self.calendar.day_of(us)
    }
}

/// Settings, checked.
#[derive(Debug, Clone)]
pub struct Config {
    partitions: u32,
    exponents: BTreeMap<String, u8>,
    providers: BTreeMap<String, Provider>,
    others: Provider,
}

impl Config {
    /// `partitions` is the number of internal partitions. WeChat Pay and Alipay need no settings; another
    /// provider without settings is judged in UTC with fees rounded half up.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting.
    pub fn new(
        partitions: u32,
        chart: &Chart,
        settings: &BTreeMap<String, ProviderSettings>,
    ) -> Result<Self, ConfigError> {
        if partitions == 0 || partitions > PARTITIONS_MAX {
            return Err(ConfigError::Partitions(partitions));
        }
        let of_zone = |zone: &str| ProviderSettings { zone: zone.into(), fee_rounding: Rounding::default() };
        let mut providers = BTreeMap::new();
        for name in [WECHAT, ALIPAY] {
            providers.insert(name.to_owned(), Provider::new(name, &of_zone(CHINA_ZONE))?);
        }
        for (name, settings) in settings {
            providers.insert(name.clone(), Provider::new(name, settings)?);
        }
        let others = Provider::new("*", &of_zone(OTHERS_ZONE))?;
        let exponents = chart.assets.iter().map(|(code, asset)| (code.clone(), asset.exponent)).collect();
        Ok(Self { partitions, exponents, providers, others })
    }

    /// Number of partitions of `journal`, `bills.lines`, `recon.sides`, `recon.state`, `matches`, `breaks`.
    #[must_use]
    pub const fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Decimals of an asset of ours.
    #[must_use]
    pub fn exponent(&self, asset: &str) -> Option<u8> {
        self.exponents.get(asset).copied()
    }

    /// What is known of a provider.
    #[must_use]
    pub fn provider(&self, name: &str) -> &Provider {
        self.providers.get(name).unwrap_or(&self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHART: &str =
        "version: 1\nassets:\n  CNY: { exponent: 2 }\naccounts:\n  - { pattern: \"a:**\", normal: debit }\n";

    #[test]
    fn days_are_the_provider_s_own() {
        let chart = Chart::parse(CHART).unwrap();
        let yaml = "paypal: { zone: America/Los_Angeles, fee_rounding: half_even }";
        let settings = serde_saphyr::from_str(yaml).unwrap();
        let config = Config::new(4, &chart, &settings).unwrap();
        let at = schemas::dates::parse_instant("2019-02-18T16:30:00Z").unwrap();
        for (provider, day) in [
            (WECHAT, "2019-02-19"),
            (ALIPAY, "2019-02-19"),
            ("paypal", "2019-02-18"),
            ("unheard-of", "2019-02-18"),
        ] {
            assert_eq!(config.provider(provider).day_of(at).unwrap().to_string(), day, "{provider}");
        }
        assert_eq!(config.provider("paypal").fee_rounding, Rounding::HalfEven);
        assert_eq!((config.exponent("CNY"), config.exponent("EUR")), (Some(2), None));
    }

    #[test]
    fn wrong_settings_are_named() {
        let chart = Chart::parse(CHART).unwrap();
        let settings = serde_saphyr::from_str("paypal: { zone: Mars/Base }").unwrap();
        let error = Config::new(4, &chart, &settings).unwrap_err().to_string();
        assert!(error.contains("reconcile.providers.paypal.zone"), "{error}");
        assert_eq!(Config::new(0, &chart, &BTreeMap::new()).unwrap_err(), ConfigError::Partitions(0));
    }
}
