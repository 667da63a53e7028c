//! Prices: micro-USD per 1,000,000 tokens, and the one division that turns tokens into money.

use super::money::MicroUsd;
use super::usage::{Bounds, CacheWrites, Usage};

/// The price of a model, as one version of it says. All in micro-USD per 1,000,000 tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// For prompt tokens that were not cached.
    pub input: MicroUsd,
    /// For generated tokens.
    pub output: MicroUsd,
    /// For prompt tokens read from the provider's cache; `None` means the input price.
    pub cache_read: Option<MicroUsd>,
    /// For prompt tokens written to it, and kept for some minutes; `None` means the input price.
    pub cache_write: Option<MicroUsd>,
    /// For prompt tokens written to it and kept for an hour; `None` means the price for minutes.
    pub cache_write_1h: Option<MicroUsd>,
}

/// Tokens that a price is for.
const PER_TOKENS: i128 = 1_000_000;

/// The highest price accepted, $1,000,000 per 1M tokens: keeps every product far inside `i128`.
pub const HIGHEST_PRICE: MicroUsd = MicroUsd::new(1_000_000_000_000);

impl Price {
    /// `ceil((plain·in + cached·cache_read + written·cache_write + completion·out) / 1_000_000)`: one division,
    /// rounded up once. An amount beyond `i64` is capped there, which no hold can cover.
    pub fn cost(&self, usage: Usage) -> MicroUsd {
        let cached = usage.cached_tokens.min(usage.prompt_tokens);
        let uncached = usage.prompt_tokens - cached;
        let written = usage.cache_writes.within(uncached);
        let millionths = times(uncached - written.all(), self.input)
            + times(cached, self.cache_read.unwrap_or(self.input))
            + times(written.short, self.write())
            + times(written.hour, self.cache_write_1h.unwrap_or(self.write()))
            + times(usage.completion_tokens, self.output);
        rounded_up(millionths)
    }

    /// The most that a request within `bounds` can cost, whatever part of its prompt is cached.
    pub fn ceiling(&self, bounds: Bounds) -> MicroUsd {
        rounded_up(times(bounds.prompt_tokens, self.max_prompt_price()) + times(bounds.completion_tokens, self.output))
    }

    /// How many output tokens fit into `available` after `prompt_tokens`: `None` if the prompt alone
    /// does not fit, `u64::MAX` if output is free.
    pub fn affordable_output(&self, prompt_tokens: u64, available: MicroUsd) -> Option<u64> {
        let budget = i128::from(available.micro()) * PER_TOKENS;
        let left = budget - times(prompt_tokens, self.max_prompt_price());
        if left < 0 {
            return None;
        }
        match i128::from(self.output.micro()) {
            0 => Some(u64::MAX),
            per_token => Some(u64::try_from(left / per_token).unwrap_or(u64::MAX)),
        }
    }

    /// How many prompt tokens fit into `available` beside `completion_tokens`: `None` if not even those fit,
    /// `u64::MAX` if prompts are free.
    pub fn affordable_prompt(&self, completion_tokens: u64, available: MicroUsd) -> Option<u64> {
        let budget = i128::from(available.micro()) * PER_TOKENS;
        let left = budget - times(completion_tokens, self.output);
        if left < 0 {
            return None;
        }
        match i128::from(self.max_prompt_price().micro()) {
            0 => Some(u64::MAX),
            per_token => Some(u64::try_from(left / per_token).unwrap_or(u64::MAX)),
        }
    }

    /// `usage`, with as much of its prompt as `most` pays for beside its output: first the part that the cache has no
    /// part in, then what was written to it, then what was read from it.
    pub fn within(&self, usage: Usage, most: MicroUsd) -> Usage {
        if self.cost(usage) <= most {
            return usage;
        }
        let mut left = i128::from(most.micro()) * PER_TOKENS - times(usage.completion_tokens, self.output);
        let mut take = |tokens: u64, price: MicroUsd| {
            let affordable = match i128::from(price.micro()) {
                0 => u64::MAX,
                per_token => u64::try_from((left / per_token).max(0)).unwrap_or(u64::MAX),
            };
            let taken = tokens.min(affordable);
            left -= times(taken, price);
            taken
        };
        let cached = usage.cached_tokens.min(usage.prompt_tokens);
        let written = usage.cache_writes.within(usage.prompt_tokens - cached);
        let plain = take(usage.prompt_tokens - cached - written.all(), self.input);
        let short = take(written.short, self.write());
        let hour = take(written.hour, self.cache_write_1h.unwrap_or(self.write()));
        let cached_tokens = take(cached, self.cache_read.unwrap_or(self.input));
        let prompt_tokens = [short, hour, cached_tokens].into_iter().fold(plain, u64::saturating_add);
        Usage { prompt_tokens, cached_tokens, cache_writes: CacheWrites { short, hour }, ..usage }
    }

    /// Nothing is ever charged for this model.
    pub fn is_free(&self) -> bool {
        [self.max_prompt_price(), self.output] == [MicroUsd::ZERO; 2]
    }

    fn write(&self) -> MicroUsd {
        self.cache_write.unwrap_or(self.input)
    }

    fn max_prompt_price(&self) -> MicroUsd {
        let others = [self.cache_read, self.cache_write, self.cache_write_1h];
        others.into_iter().flatten().fold(self.input, MicroUsd::max)
    }
}

/// Tokens at a price, in millionths of a micro-USD.
fn times(tokens: u64, price: MicroUsd) -> i128 {
    i128::from(tokens) * i128::from(price.micro())
}

fn rounded_up(millionths: i128) -> MicroUsd {
    let whole = (millionths + PER_TOKENS - 1).div_euclid(PER_TOKENS);
    MicroUsd::new(i64::try_from(whole).unwrap_or(i64::MAX))
}

/// `$0.1000`: a price per 1M tokens for people, with at least four decimals.
pub fn price_text(price: MicroUsd) -> String {
    format!("${}", price.to_usd(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(input: i64, output: i64, cache_read: Option<i64>) -> Price {
        let (input, output) = (MicroUsd::new(input), MicroUsd::new(output));
        Price { input, output, cache_read: cache_read.map(MicroUsd::new), cache_write: None, cache_write_1h: None }
    }

    fn usage(prompt_tokens: u64, cached_tokens: u64, completion_tokens: u64) -> Usage {
        Usage { prompt_tokens, cached_tokens, completion_tokens, ..Usage::default() }
    }

    #[test]
    fn cost_is_rounded_up_once() {
        let qwen = price(100_000, 780_000, None);
        let cached = price(100_000, 780_000, Some(10_000));
        let rows = [
            (qwen, usage(412, 0, 187), 188), // 187.06
            (qwen, usage(412, 412, 187), 188),
            (cached, usage(412, 412, 187), 150), // 4.12 + 145.86 = 149.98
            (cached, usage(412, 999, 187), 150), // never more cached than prompt
            (qwen, usage(0, 0, 0), 0),
            (qwen, usage(1, 0, 0), 1), // 0.1
            (qwen, usage(10, 0, 0), 1),
            (qwen, usage(11, 0, 0), 2),
            (price(0, 0, None), usage(1_000, 0, 1_000), 0),
            (price(1, 0, None), usage(1_000_000, 0, 0), 1),
            (price(1, 0, None), usage(1_000_001, 0, 0), 2),
            (price(1_000_000_000_000, 0, None), usage(u64::MAX, 0, 0), i64::MAX),
        ];
        for (price, usage, micro) in rows {
            assert_eq!(price.cost(usage), MicroUsd::new(micro), "{usage:?}");
        }
    }

    #[test]
    fn what_is_written_to_a_cache_has_its_own_prices() {
        let some = |micro| Some(MicroUsd::new(micro));
        let plain = price(3_000_000, 15_000_000, Some(300_000));
        let minutes = Price { cache_write: some(3_750_000), ..plain };
        let both = Price { cache_write_1h: some(6_000_000), ..minutes };
        let hour = Price { cache_write_1h: some(6_000_000), ..plain };
        // 1,000 tokens: 100 read, 200 written for minutes, 300 for an hour, 400 neither; 10 generated.
        let cache_writes = CacheWrites { short: 200, hour: 300 };
        let used = Usage { cache_writes, ..usage(1_000, 100, 10) };
        let rows = [(plain, 2_880), (minutes, 3_255), (both, 3_930), (hour, 3_780)];
        for (price, micro) in rows {
            assert_eq!(price.cost(used), MicroUsd::new(micro), "{price:?}");
        }
        let bounds = Bounds { prompt_tokens: 10, completion_tokens: 0 };
        assert_eq!((both.ceiling(bounds), minutes.ceiling(bounds)), (MicroUsd::new(60), MicroUsd::new(38)));
        let free = Price { cache_write: some(1), ..price(0, 0, None) };
        assert!(!free.is_free() && free.cost(usage(1_000, 0, 0)) == MicroUsd::ZERO);
    }

    #[test]
    fn output_that_a_balance_affords() {
        let qwen = price(100_000, 780_000, None);
        let rows = [
            (qwen, 0, 100, Some(128)), // 100 / 0.78 = 128.2
            (qwen, 100, 100, Some(115)),
            (qwen, 1_000, 100, Some(0)),
            (qwen, 1_001, 100, None),
            (qwen, 0, 0, Some(0)),
            (price(0, 0, None), 1_000_000, 0, Some(u64::MAX)),
            (price(5, 0, None), 1_000_000, 5, Some(u64::MAX)),
            (price(5, 0, None), 1_000_001, 5, None),
        ];
        for (price, prompt, micro, tokens) in rows {
            assert_eq!(price.affordable_output(prompt, MicroUsd::new(micro)), tokens);
        }
    }

    #[test]
    fn a_prompt_that_a_balance_affords() {
        let qwen = price(100_000, 780_000, None);
        let rows = [
            (qwen, 0, 1, Some(10)),
            (qwen, 1, 1, Some(2)), // 1 − 0.78 = 0.22
            (qwen, 2, 1, None),
            (qwen, 0, 0, Some(0)),
            (price(0, 780_000, None), 1, 1, Some(u64::MAX)),
            (price(0, 780_000, None), 1, 0, None),
        ];
        for (price, output, micro, tokens) in rows {
            assert_eq!(price.affordable_prompt(output, MicroUsd::new(micro)), tokens);
        }
    }

    #[test]
    fn a_usage_is_cut_to_what_was_held() {
        let qwen = price(100_000, 780_000, Some(10_000));
        let rows = [
            (usage(412, 0, 187), 188, usage(412, 0, 187)),
            (usage(100_000, 0, 100), 1_078, usage(10_000, 0, 100)),
            (usage(100_000, 90_000, 100), 1_178, usage(20_000, 10_000, 100)),
            (usage(100, 0, 100), 10, usage(0, 0, 100)),
        ];
        for (used, micro, cut) in rows {
            assert_eq!(qwen.within(used, MicroUsd::new(micro)), cut, "{used:?} of {micro}");
        }
    }

    #[test]
    fn a_cache_price_above_the_input_price_is_in_the_ceiling() {
        let odd = price(100_000, 0, Some(900_000));
        let bounds = Bounds { prompt_tokens: 10, completion_tokens: 0 };
        assert_eq!(odd.ceiling(bounds), MicroUsd::new(9));
        assert_eq!(odd.affordable_output(10, MicroUsd::new(8)), None);
        assert!(!odd.is_free() && price(0, 0, None).is_free() && !price(0, 1, None).is_free());
    }

    #[test]
    fn price_text_has_four_decimals_or_more() {
        let rows = [(100_000, "$0.1000"), (65_000, "$0.0650"), (1, "$0.000001"), (0, "$0.0000")];
        for (micro, text) in rows {
            assert_eq!(price_text(MicroUsd::new(micro)), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_affordable_costs_no_more_than_the_balance(
            input in 0..10_000_000i64, output in 1..10_000_000i64,
            prompt in 0..100_000u64, balance in 0..10_000_000i64,
        ) {
            let price = price(input, output, None);
            let balance = MicroUsd::new(balance);
            if let Some(tokens) = price.affordable_output(prompt, balance) {
                let cost = |n| price.cost(usage(prompt, 0, n));
                proptest::prop_assert!(cost(tokens) <= balance);
                proptest::prop_assert!(cost(tokens + 1) > balance);
            } else {
                proptest::prop_assert!(price.cost(usage(prompt, 0, 0)) > balance);
            }
        }

        #[test]
        fn what_is_cut_to_a_hold_costs_no_more_and_nearly_all_of_it(
            input in 1..10_000_000i64, output in 0..10_000_000i64, cache in proptest::option::of(0..10_000_000i64),
            prompt in 0..100_000u64, cached in 0..100_000u64, completion in 0..1_000u64, held in 0..1_000_000i64,
            write in proptest::option::of(0..10_000_000i64), hour in proptest::option::of(0..10_000_000i64),
            short in 0..100_000u64, long in 0..100_000u64,
        ) {
            let (cache_write, cache_write_1h) = (write.map(MicroUsd::new), hour.map(MicroUsd::new));
            let price = Price { cache_write, cache_write_1h, ..price(input, output, cache) };
            let held = MicroUsd::new(held);
            let cached = cached.min(prompt);
            let cache_writes = CacheWrites { short, hour: long }.within(prompt - cached);
            let all = Usage { cache_writes, ..usage(prompt, cached, completion) };
            let cut = price.within(all, held);
            if price.cost(usage(0, 0, completion)) <= held {
                proptest::prop_assert!(price.cost(cut) <= held);
                proptest::prop_assert!(cut == all || held.minus_floor_zero(price.cost(cut)) <= MicroUsd::new(price.max_prompt_price().micro() / 1_000_000 + 1));
            }
        }

        #[test]
        fn usage_within_bounds_costs_at_most_the_ceiling(
            input in 0..10_000_000i64, output in 0..10_000_000i64, cache in proptest::option::of(0..10_000_000i64),
            prompt in 0..100_000u64, cached in 0..100_000u64, completion in 0..100_000u64,
            write in proptest::option::of(0..10_000_000i64), hour in proptest::option::of(0..10_000_000i64),
            short in 0..100_000u64, long in 0..100_000u64,
        ) {
            let (cache_write, cache_write_1h) = (write.map(MicroUsd::new), hour.map(MicroUsd::new));
            let price = Price { cache_write, cache_write_1h, ..price(input, output, cache) };
            let cache_writes = CacheWrites { short, hour: long };
            let bounds = Bounds { prompt_tokens: 50_000, completion_tokens: 50_000 };
            let used = bounds.clamp(Usage { cache_writes, ..usage(prompt, cached, completion) });
            proptest::prop_assert!(price.cost(used) <= price.ceiling(bounds));
        }
    }
}
