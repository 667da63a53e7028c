//! What a request can use at most, what is held for that, and what of it a balance affords. Pure.
//!
//! An estimate never clamps a report: the bounds are what cannot be exceeded. Where the worst case is too much, the
//! prompt is counted, twice: as the tokenizer here reads it, and as the densest of those in use may.
//!
//! - The dense count is held where it fits, and leaves the rest to other requests of the account.
//! - Where it does not, and there is *really* no more money, all of it is held, and the count says how much output it
//!   affords. A server that reads the prompt denser is paid all there was: a discount that takes the balance with it.
//! - Where more is there, but held by other requests, or kept from this key by its spend limit, there is no such
//!   discount: what cannot be held is refused. Else one slow stream that holds nearly everything would make every
//!   request beside it cheaper, and a new key with a small limit would make every request so, again and again.

use crate::dialect::request::InferenceRequest;
use crate::domain::money::MicroUsd;
use crate::domain::price::Price;
use crate::domain::usage::Bounds;
use crate::meter::{enlarge, growth, prompt};
use crate::store::prices::PriceRow;

/// If neither the client nor the model says how long an answer may be.
const DEFAULT_OUTPUT: u64 = 8_192;

/// The worst case of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorstCase {
    /// The most tokens that a report of it is believed to have: a token is at least a byte of what a tokenizer gets to
    /// see, and each medium has a bound of its own. The context length is no bound of a report: an operator may have
    /// set it too low.
    pub bounds: Bounds,
    /// The prompt tokens that are paid for in advance: no more than fit the model's context.
    pub prompt_held: u64,
    /// The provider reads more than is written in the request, so that counting it says nothing of the most.
    pub reads_further: bool,
}

/// What was counted of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// What the servers of the model are likely to make of it.
    pub tokens: u64,
    /// The most that they may make of it.
    pub most: u64,
}

impl Counted {
    /// Of a request that may be sent in this form or in another one.
    pub fn or(self, other: Self) -> Self {
        Self { tokens: self.tokens.max(other.tokens), most: self.most.max(other.most) }
    }

    /// Of a prompt that was not counted to its end.
    pub const UNKNOWN: Self = Self { tokens: u64::MAX, most: u64::MAX };
}

/// What a request can be paid with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Funds {
    /// What neither other requests hold nor a key's limit keeps back.
    pub available: MicroUsd,
    /// It is all the money of the account: nothing is held, and no limit of the key is narrower.
    pub is_all: bool,
}

/// What a balance affords of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Affordable {
    /// With the output that is affordable.
    pub bounds: Bounds,
    /// To be held: the worst case, or all that is available.
    pub hold: MicroUsd,
}

impl WorstCase {
    /// Of a request to a model that takes `context` tokens.
    pub fn of(request: &InferenceRequest<'_>, price: &PriceRow, context: Option<u64>) -> Self {
        let bytes = u64::try_from(request.size()).unwrap_or(u64::MAX);
        let media = prompt::media(request);
        let largest = if media.is_empty() { 0 } else { enlarge::largest(request) };
        let media = media.into_iter().map(|medium| enlarge::most_tokens(medium, largest));
        let text = bytes.saturating_add(growth::beyond_bytes(request));
        let prompt_tokens = media.fold(text, u64::saturating_add);
        let context = context.unwrap_or(u64::MAX);
        let completion_tokens = match request.max_output {
            _ if !request.endpoint.generates() => 0,
            Some(asked) => asked.min(context),
            // vLLM refuses a bound that does not fit beside the prompt, and this one nobody asked for. The
            // prompt is rarely as long as its bytes, so a quarter of the context is always left.
            None => price
                .max_output
                .unwrap_or(DEFAULT_OUTPUT)
                .min(context.saturating_sub(prompt_tokens).max(context / 4))
                .max(1),
        };
        Self {
            bounds: Bounds { prompt_tokens, completion_tokens },
            prompt_held: prompt_tokens.min(context),
            reads_further: false,
        }
    }

    /// The same where the provider reads more than is written in the request: as much as the model takes.
    pub fn beyond_the_text(self, context: Option<u64>) -> Self {
        /// Of a model whose context is not known.
        const LONGEST_CONTEXT: u64 = 1_000_000;
        let further = context.unwrap_or(LONGEST_CONTEXT);
        let prompt_tokens = self.bounds.prompt_tokens.saturating_add(further);
        Self {
            bounds: Bounds { prompt_tokens, ..self.bounds },
            prompt_held: self.prompt_held.max(further),
            reads_further: true,
        }
    }

    /// Of a request that may be sent in this form or in another one.
    pub fn or(self, other: Self) -> Self {
        let (a, b) = (self.bounds, other.bounds);
        Self {
            bounds: Bounds {
                prompt_tokens: a.prompt_tokens.max(b.prompt_tokens),
                // What nobody asked for has to fit beside either.
                completion_tokens: a.completion_tokens.min(b.completion_tokens),
            },
            prompt_held: self.prompt_held.max(other.prompt_held),
            reads_further: self.reads_further || other.reads_further,
        }
    }

    /// What it costs at most.
    pub fn cost(&self, price: &Price) -> MicroUsd {
        self.cost_with(price, self.bounds.completion_tokens)
    }

    fn cost_with(&self, price: &Price, completion_tokens: u64) -> MicroUsd {
        price.ceiling(Bounds { prompt_tokens: self.prompt_held, completion_tokens })
    }

    /// All of it, uncounted, if `available` covers that. A long prompt that would take much of what is available is
    /// worth counting anyway: agents of one account then run side by side on what one of them would hold.
    pub fn whole(&self, price: &Price, available: MicroUsd) -> Option<Affordable> {
        /// Shorter prompts leave enough to others.
        const LONG: u64 = 16 << 10;
        let hold = self.cost(price);
        let takes_much = self.prompt_held >= LONG && self.cost_with(price, 0).micro() > available.micro() / 4;
        (hold <= available && !takes_much).then_some(Affordable { bounds: self.bounds, hold })
    }

    /// What `funds` afford of a request whose prompt was counted; `None` if not even the prompt and one token of
    /// output. More money of the same kind never buys a shorter answer: a count is not above the bound.
    pub fn affordable(&self, price: &Price, counted: Counted, funds: Funds) -> Option<Affordable> {
        let available = funds.available;
        let most = if self.reads_further { self.prompt_held } else { counted.most.min(self.prompt_held) };
        let held = |completion_tokens| price.ceiling(Bounds { prompt_tokens: most, completion_tokens });
        let wanted = self.bounds.completion_tokens;
        if held(wanted) <= available {
            return Some(Affordable { bounds: self.bounds, hold: held(wanted) });
        }
        let prompt = if funds.is_all { with_margin(counted.tokens).min(most) } else { most };
        let completion_tokens = wanted.min(price.affordable_output(prompt, available)?);
        let none_left = completion_tokens == 0 && wanted > 0;
        let bounds = Bounds { completion_tokens, ..self.bounds };
        let hold = if funds.is_all { self.cost_with(price, completion_tokens) } else { held(completion_tokens) };
        (!none_left).then_some(Affordable { bounds, hold: hold.min(available) })
    }

    /// A prompt of more tokens than these need not be counted to its end: it is not affordable. `None` if no
    /// prompt is.
    pub fn worth_counting(&self, price: &Price, available: MicroUsd) -> Option<u64> {
        let least_output = self.bounds.completion_tokens.min(1);
        price.affordable_prompt(least_output, available).filter(|most| *most > 0)
    }
}

/// What a prompt of `counted` tokens may be by another tokenizer: a tenth more.
fn with_margin(counted: u64) -> u64 {
    counted.saturating_add(counted.div_ceil(10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::Endpoint;
    use crate::domain::ids::PriceId;
    use crate::domain::time::Timestamp;

    fn row(max_output: Option<u64>) -> PriceRow {
        PriceRow {
            id: PriceId::from_i64(1),
            model: "m".into(),
            display_name: "m".into(),
            price: Price {
                input: MicroUsd::new(100_000),
                output: MicroUsd::new(780_000),
                cache_read: None,
                cache_write: None,
                cache_write_1h: None,
            },
            context_length: None,
            max_output,
            max_running: None,
            created_at: Timestamp::from_millis(0),
            created_by: String::new(),
            retired_at: None,
        }
    }

    #[test]
    fn the_worst_case_is_bounded_by_what_is_known() {
        let chat = Endpoint::ChatCompletions;
        let message = r#"{"model":"m","messages":[{"content":"hi"}]"#;
        let with = |more: &str| format!("{message}{more}}}");
        let image = r#","input":[{"type":"image_url"},{"type":"image_url"}]"#;
        // endpoint, body, context, max output → tokens of media, held (if not all), completion
        let rows = [
            (chat, with(""), None, None, (0, None, 8_192)),
            (chat, with(""), None, Some(100), (0, None, 100)),
            (chat, with(r#","max_tokens":7"#), None, Some(100), (0, None, 7)),
            (chat, with(r#","max_tokens":9000"#), Some(4_096), None, (0, None, 4_096)),
            (chat, with(""), Some(1_000), None, (0, None, 957)),
            (chat, with(""), Some(12), None, (0, Some(12), 3)),
            (chat, with(image), None, Some(5), (2 * 49_152, None, 5)),
            (chat, with(image), Some(9_000), None, (2 * 49_152, Some(9_000), 2_250)),
            (Endpoint::Embeddings, r#"{"model":"m","input":"a"}"#.to_owned(), None, None, (0, None, 0)),
        ];
        for (endpoint, body, context, output, (media, held, completion_tokens)) in rows {
            match InferenceRequest::read(endpoint, body.as_bytes()) {
                Ok(r) => {
                    let bounds = Bounds { prompt_tokens: body.len() as u64 + media, completion_tokens };
                    let prompt_held = held.unwrap_or(bounds.prompt_tokens);
                    let expected = WorstCase { bounds, prompt_held, reads_further: false };
                    assert_eq!(WorstCase::of(&r, &row(output), context), expected, "{body}");
                }
                Err(e) => panic!("{body}: {e}"),
            }
        }
    }

    fn worst(prompt_tokens: u64, completion_tokens: u64) -> WorstCase {
        let bounds = Bounds { prompt_tokens, completion_tokens };
        WorstCase { bounds, prompt_held: prompt_tokens, reads_further: false }
    }

    fn all(micro: i64) -> Funds {
        Funds { available: MicroUsd::new(micro), is_all: true }
    }

    #[test]
    fn a_count_says_what_output_is_affordable_and_bounds_nothing() {
        let price = row(None).price;
        // bytes, wanted output, counted, available → output, hold
        let rows = [
            ((100, 50, 20), 1_000, Some((50, 49))),   // 10 + 39: all of it
            ((100, 500, 20), 100, Some((125, 100))),  // 2.2 + 97.5
            ((100, 500, 100), 100, Some((115, 100))), // a count is not above the bytes
            ((100, 500, 99), 10, None),
            ((100, 500, 20), 10, Some((10, 10))),
            ((100, 0, 20), 10, Some((0, 10))),
            ((101, 0, 20), 10, Some((0, 10))),
            ((0, 1, 0), 0, None),
            ((400_000, 100, 100_000), 30_000, Some((100, 30_000))),
        ];
        for ((bytes, output, counted), micro, expected) in rows {
            let counted_so = Counted { tokens: counted, most: bytes };
            let affordable = worst(bytes, output).affordable(&price, counted_so, all(micro));
            let expected = expected.map(|(completion_tokens, hold)| Affordable {
                bounds: Bounds { prompt_tokens: bytes, completion_tokens },
                hold: MicroUsd::new(hold),
            });
            assert_eq!(affordable, expected, "{bytes} bytes counted {counted}, {micro}");
        }
    }

    #[test]
    fn what_others_hold_makes_nothing_cheaper() {
        let price = row(None).price;
        let rest = |micro| Funds { available: MicroUsd::new(micro), is_all: false };
        let counted = Counted { tokens: 100_000, most: 150_000 };
        // bytes 40,000 µUSD, dense 15,000, counted and a tenth 11,000; a token of output 0.78
        // funds → output, hold
        let rows = [
            (all(40_078), Some((100, 15_078))),
            (rest(40_078), Some((100, 15_078))),
            (rest(15_078), Some((100, 15_078))),
            (rest(15_077), Some((98, 15_077))),
            (rest(15_001), Some((1, 15_001))),
            (rest(15_000), None),
            (rest(14_999), None),
            (all(14_999), Some((100, 14_999))),
            (all(11_001), Some((1, 11_001))),
            (all(11_000), None),
        ];
        for (funds, expected) in rows {
            let found = worst(400_000, 100).affordable(&price, counted, funds);
            let found = found.map(|found| (found.bounds.completion_tokens, found.hold.micro()));
            assert_eq!(found, expected, "{funds:?}");
        }
        let further = WorstCase { reads_further: true, ..worst(400_000, 100) };
        assert_eq!(further.affordable(&price, counted, rest(15_078)), None, "what is not written was not counted");
        assert_eq!(worst(400_000, 100).affordable(&price, Counted::UNKNOWN, all(39_999)), None);
    }

    #[test]
    fn a_long_prompt_that_takes_much_of_the_money_is_counted() {
        let price = row(None).price;
        let taken = |bytes, micro| worst(bytes, 100).whole(&price, MicroUsd::new(micro)).is_some();
        // 400,000 bytes are 40,000 µUSD, and 100 tokens of output 78.
        assert!(taken(400_000, 160_000) && !taken(400_000, 159_999));
        assert!(taken(16_383, 1_717) && !taken(16_383, 1_716) && !taken(16_384, 1_717));
    }

    #[test]
    fn three_agents_of_long_context_run_side_by_side() {
        // 400 KB of code: bytes, counted, the most of it; $2 in all, at $2.40 and $12.
        let (bytes, counted) = (400_000, Counted { tokens: 97_000, most: 205_000 });
        let price = Price { input: MicroUsd::new(2_400_000), output: MicroUsd::new(12_000_000), ..row(None).price };
        let mut left = MicroUsd::new(2_000_000);
        for agent in 0..3 {
            let funds = Funds { available: left, is_all: agent == 0 };
            let worst = worst(bytes, 8_192);
            let taken = worst.whole(&price, left).or_else(|| worst.affordable(&price, counted, funds));
            assert_eq!(taken.map(|taken| taken.bounds.completion_tokens), Some(8_192), "agent {agent}");
            left = left.minus_floor_zero(taken.map_or(MicroUsd::ZERO, |taken| taken.hold));
        }
    }

    #[test]
    fn what_cannot_be_afforded_is_not_counted() {
        let price = row(None).price;
        assert_eq!(worst(1 << 25, 100).worth_counting(&price, MicroUsd::ZERO), None);
        assert_eq!(worst(1 << 25, 100).worth_counting(&price, MicroUsd::new(1)), Some(2));
        assert_eq!(worst(1 << 25, 0).worth_counting(&price, MicroUsd::new(1)), Some(10));
    }

    proptest::proptest! {
        #[test]
        fn more_money_never_buys_a_shorter_answer(
            bytes in 1..1_000_000u64, share in 1..=100u64, output in 1..10_000u64,
            input_price in 0..2_000_000i64, output_price in 1..9_000_000i64, less in 0..500_000i64, more in 0..500_000i64,
            denser in 100..=400u64, is_all in proptest::bool::ANY,
        ) {
            let price = Price { input: MicroUsd::new(input_price), output: MicroUsd::new(output_price), cache_read: None, cache_write: None, cache_write_1h: None };
            let (case, counted) = (worst(bytes, output), bytes * share / 100);
            let counted = Counted { tokens: counted, most: counted * denser / 100 };
            let of = |micro| case.affordable(&price, counted, Funds { available: MicroUsd::new(micro), is_all });
            let tokens = |micro| of(micro).map_or(0, |found| found.bounds.completion_tokens);
            proptest::prop_assert!(tokens(less + more) >= tokens(less));
            if let Some(found) = of(less) {
                proptest::prop_assert!(found.hold <= MicroUsd::new(less));
                proptest::prop_assert_eq!(found.bounds.prompt_tokens, bytes);
            }
        }
    }
}
