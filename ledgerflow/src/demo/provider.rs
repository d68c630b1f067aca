//! The providers through which the company is paid: what they are called, where their bills come from, and which
//! errors a bill of theirs can have.

use reconcile::bill::BillFormat;
use reconcile::import::BillSource;
use schemas::dates::Day;
use schemas::recon_json::CaseKind;

/// A provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Provider {
    /// WeChat Pay.
    Wechat,
    /// Alipay.
    Alipay,
}

/// How often each error is planted in a bill of WeChat. The first take what only a few lines are fit for.
const IN_WECHAT: [(CaseKind, usize); 7] = [
    (CaseKind::Status, 25),
    (CaseKind::Fee, 27),
    (CaseKind::Currency, 22),
    (CaseKind::Amount, 31),
    (CaseKind::OursOnly, 38),
    (CaseKind::TheirsOnly, 33),
    (CaseKind::Duplicate, 29),
];
/// The same of Alipay.
const IN_ALIPAY: [(CaseKind, usize); 5] = [
    (CaseKind::Fee, 24),
    (CaseKind::Amount, 28),
    (CaseKind::OursOnly, 34),
    (CaseKind::TheirsOnly, 30),
    (CaseKind::Duplicate, 26),
];

impl Provider {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Wechat, Self::Alipay];

    /// As events, posting rules and the configuration name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Wechat => "wechat",
            Self::Alipay => "alipay",
        }
    }

    /// As people do.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Wechat => "WeChat",
            Self::Alipay => "Alipay",
        }
    }

    /// The one of that name.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name)
    }

    /// Our account there.
    pub(super) const fn account(self) -> &'static str {
        match self {
            Self::Wechat => "1900000109",
            Self::Alipay => "20880000000000000156",
        }
    }

    /// The format of its bills as the configuration names it.
    pub(super) const fn format(self) -> &'static str {
        match self {
            Self::Wechat => "wechat_trade",
            Self::Alipay => "alipay_detail",
        }
    }

    /// Where its bills come from.
    pub(super) fn source(self) -> BillSource {
        BillSource {
            name: self.name().to_owned(),
            provider: self.name().to_owned(),
            account: self.account().to_owned(),
            format: match self {
                Self::Wechat => BillFormat::WechatTradeBill,
                Self::Alipay => BillFormat::AlipayDetail,
            },
        }
    }

    /// Name of the file of a day's bill.
    pub(super) fn file_name(self, day: Day) -> String {
        match self {
            Self::Wechat => format!("wechat-{day}.ALL.csv"),
            Self::Alipay => format!("alipay-{day}.zip"),
        }
    }

    /// How often each error is planted in its bill.
    pub(super) const fn errors(self) -> &'static [(CaseKind, usize)] {
        match self {
            Self::Wechat => &IN_WECHAT,
            Self::Alipay => &IN_ALIPAY,
        }
    }

    /// Why no bill of its format can be wrong in this way; `None` where it can.
    pub(super) const fn cannot(self, kind: CaseKind) -> Option<&'static str> {
        match (self, kind) {
            (Self::Alipay, CaseKind::Currency) => Some("cannot be: no currency in it, all is CNY"),
            (Self::Alipay, CaseKind::Status) => Some("cannot be: it lists what succeeded only"),
            _ => None,
        }
    }
}
