//! What settings must be together.

use super::{BillFormat, ClockMode, Settings};
use std::collections::BTreeSet;
use std::path::Path;
use stream::config::{ConfigError, Layers, Origin, Setting};

impl Settings {
    /// What two settings must be together. An error names the place where the first of them was written that is
    /// written at all.
    pub(super) fn check(&self, layers: &Layers) -> Result<(), ConfigError> {
        let refuse = |key: &str, written: [&str; 2], found: String, expected: String| {
            let mut origins = written.into_iter().map(|key| layers.origin(key));
            let origin = origins.find(|origin| *origin != Origin::Default).unwrap_or(Origin::Default);
            Err(ConfigError::Value { origin, key: key.to_owned(), found, expected })
        };
        let clock = &self.business_clock;
        let timed = clock.mode != ClockMode::Wall;
        if timed != clock.at.is_some() {
            let (at, mode) = ("business_clock.at", "business_clock.mode");
            let found = clock.at.as_ref().map_or_else(|| "nothing".to_owned(), Setting::render);
            let time = if timed { "a time" } else { "no time" };
            return refuse(at, [at, mode], found, format!("{time}, as {mode} is {}", clock.mode.word()));
        }
        let ingest = &self.ingest;
        let floors = ingest.lane_floor.saturating_mul(3);
        if ingest.window_records < floors {
            let (records, floor) = ("ingest.window_records", "ingest.lane_floor");
            let expected = format!("at least {floors}, three times {floor}");
            return refuse(records, [records, floor], ingest.window_records.to_string(), expected);
        }
        let kafka = &self.kafka;
        if kafka.member.is_some_and(|member| member.0.get() > kafka.members) {
            let (member, members) = ("kafka.member", "kafka.members");
            let found = kafka.member.as_ref().map(Setting::render).unwrap_or_default();
            return refuse(member, [member, members], found, format!("at most {}, {members}", kafka.members));
        }
        if kafka.min_in_sync > kafka.replication {
            let (least, copies) = ("kafka.min_in_sync", "kafka.replication");
            let expected = format!("at most {}, {copies}", kafka.replication);
            return refuse(least, [least, copies], kafka.min_in_sync.to_string(), expected);
        }
        let servers = [("http.listen", self.http.listen), ("metrics.listen", self.metrics.listen)];
        let mut open = servers.into_iter().filter_map(|(listen, address)| Some((listen, address.0?)));
        if let Some((listen, address)) = open.find(|(_, address)| !address.ip().is_loopback())
            && self.http.tokens.is_none()
        {
            let tokens = "http.tokens";
            let expected = format!("a loopback address such as 127.0.0.1:{}, or {tokens}", address.port());
            return refuse(listen, [listen, tokens], address.to_string(), expected);
        }
        let mut names = BTreeSet::new();
        let repeated = self.bills.sources.iter().position(|source| !names.insert(source.name.as_str()));
        if let Some((index, source)) = repeated.and_then(|at| Some((at, self.bills.sources.get(at)?))) {
            let key = format!("bills.sources[{index}].name");
            let found = format!("{:?} a second time", source.name);
            return refuse(&key, [&key, "bills.sources"], found, "a name for each".to_owned());
        }
        if let Some(dir) = self.archive.dir.as_deref().filter(|dir| dir.starts_with(&self.log.dir)) {
            let (archive, log) = ("archive.dir", "log.dir");
            let expected = format!("a folder outside of {log}, {}", self.log.dir.display());
            return refuse(archive, [archive, log], dir.display().to_string(), expected);
        }
        for (key, path) in &self.files() {
            let key = key.as_str();
            if let Err(why) = std::fs::read(path) {
                let found = format!("{:?} ({why})", path.display().to_string());
                return refuse(key, [key; 2], found, "a file that can be read".to_owned());
            }
        }
        Ok(())
    }

    /// Files that settings name and that are read at the start, each with its setting.
    fn files(&self) -> Vec<(String, &Path)> {
        let named = [
            ("accounts", &self.accounts),
            ("rules", &self.rules),
            ("kafka.properties", &self.kafka.properties),
            ("http.tokens", &self.http.tokens),
        ];
        let named = named.into_iter().filter_map(|(key, path)| Some((key.to_owned(), path.as_deref()?)));
        let mappings =
            self.bills.sources.iter().enumerate().filter_map(|(index, source)| match &source.format {
                BillFormat::Mapped(mapped) => {
                    Some((format!("bills.sources[{index}].format.mapping"), mapped.mapping.as_path()))
                }
                BillFormat::WechatTrade | BillFormat::AlipayDetail => None,
            });
        named.chain(mappings).collect()
    }
}
