//! Rules whose events give one account limits of its own.

use super::{AccountTemplate, AssetTemplate, Compiler, OperationEntry, RuleEntry};

/// Which account and asset it is about, and the fields that hold its limits, by index. Each field may be absent.
#[derive(Debug, Clone)]
pub(crate) struct LimitTemplate {
    pub(crate) account: AccountTemplate,
    pub(crate) asset: AssetTemplate,
    pub(crate) overdraft: Option<usize>,
    pub(crate) min_balance: Option<usize>,
    pub(crate) max_balance: Option<usize>,
}

impl LimitTemplate {
    /// The fields that hold amounts.
    pub(super) fn amounts(&self) -> impl Iterator<Item = usize> {
        [self.overdraft, self.min_balance, self.max_balance].into_iter().flatten()
    }
}

/// Keys that only such a rule has.
///
/// # Errors
/// One of them stands in another rule.
pub(super) fn check_keys(entry: &RuleEntry) -> Result<(), String> {
    let keys = [
        ("asset", &entry.asset),
        ("overdraft", &entry.overdraft),
        ("min_balance", &entry.min_balance),
        ("max_balance", &entry.max_balance),
    ];
    let wrong =
        keys.iter().find(|(_, value)| value.is_some() && entry.operation != Some(OperationEntry::Limit));
    wrong.map_or(Ok(()), |(name, _)| Err(format!("{name}: expected only with operation limit")))
}

impl Compiler<'_> {
    /// # Errors
    /// What is missing or not well formed.
    pub(super) fn limit(&mut self, entry: &RuleEntry) -> Result<LimitTemplate, String> {
        let account = entry.account.as_deref().ok_or("account: expected the account that it is about")?;
        let asset = entry.asset.as_deref().ok_or("asset: expected the asset that it is about")?;
        let (account, asset) = (self.account(account)?, self.asset(asset)?);
        let mut field = |path: &Option<String>| path.as_deref().map(|path| self.field(path)).transpose();
        let (overdraft, min_balance) = (field(&entry.overdraft)?, field(&entry.min_balance)?);
        let limits =
            LimitTemplate { account, asset, overdraft, min_balance, max_balance: field(&entry.max_balance)? };
        if limits.amounts().next().is_none() {
            return Err("expected overdraft, min_balance or max_balance".into());
        }
        Ok(limits)
    }
}
