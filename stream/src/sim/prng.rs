//! SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): small, seedable, the same on every machine. Not for secrets.

/// Seeded generator of the simulation and of the random conformance case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prng {
    state: u64,
}

impl Prng {
    /// A generator; equal seeds give equal numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number, any of 2^64.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// An index below `length`; 0 when `length` is 0.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(u64::try_from(length).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    /// True `per_mille` times in a thousand. A rate of 0 draws no number.
    pub fn chance(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.below(1000) < u64::from(per_mille)
    }

    /// One of 1 to `max` microseconds (1 when `max` is below 1); short ones are as likely as long ones: the
    /// bound is halved up to seven times before the draw.
    pub fn delay_us(&mut self, max: i64) -> i64 {
        let halved = u64::try_from(max).unwrap_or(0) >> self.below(8);
        let drawn = self.below(halved);
        i64::try_from(drawn).unwrap_or(0).saturating_add(1)
    }
}

/// The output function of SplitMix64, also used to fold the digest.
#[must_use]
pub(super) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_numbers_of_seed_1234567() {
        let mut prng = Prng::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| prng.next_u64()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn stays_within_its_bounds() {
        let mut prng = Prng::new(1);
        for bound in [1, 2, 3, 1000] {
            let mut seen = vec![false; usize::try_from(bound).unwrap()];
            for _ in 0..20_000 {
                let drawn = prng.below(bound);
                assert!(drawn < bound);
                seen[usize::try_from(drawn).unwrap()] = true;
                assert!((1..=7).contains(&prng.delay_us(7)));
            }
            assert!(seen.iter().all(|s| *s), "every number below {bound} is drawn");
        }
        assert_eq!(prng.below(0), 0);
        assert!(!prng.chance(0));
        assert!(prng.chance(1000));
    }
}
