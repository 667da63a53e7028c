//! What a request can use at most, what is held for that, and what of it a balance affords. Pure.
//!
//! An estimate never clamps a report: the bounds are what cannot be exceeded. What the tokenizer counts says only how
//! much output a balance affords that does not cover the worst case; all of it is held then.

use crate::domain::money::MicroUsd;
use crate::domain::price::Price;
use crate::domain::request::InferenceRequest;
use crate::domain::usage::Bounds;
use crate::meter::{enlarge, growth, prompt};
use crate::store::prices::PriceRow;

/// If neither the client nor the model says how long an answer may be.
const DEFAULT_OUTPUT: u64 = 8_192;

/// The worst case of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorstCase {
    /// The most tokens that a report of it is believed to have: a token is at least a byte of what a tokenizer gets to
    /// see, and each medium has a bound of its own. The context length is no bound of a report: an operator may have set it too low.
    pub bounds: Bounds,
    /// The prompt tokens that are paid for in advance: no more than fit the model's context.
    pub prompt_held: u64,
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
        Self { bounds: Bounds { prompt_tokens, completion_tokens }, prompt_held: prompt_tokens.min(context) }
    }

    /// The same where the provider reads more than is written in the request: as much as the model takes.
    pub fn beyond_the_text(self, context: Option<u64>) -> Self {
        /// Of a model whose context is not known.
        const LONGEST_CONTEXT: u64 = 1_000_000;
        let further = context.unwrap_or(LONGEST_CONTEXT);
        let prompt_tokens = self.bounds.prompt_tokens.saturating_add(further);
        Self { bounds: Bounds { prompt_tokens, ..self.bounds }, prompt_held: self.prompt_held.max(further) }
    }

    /// What it costs at most.
    pub fn cost(&self, price: &Price) -> MicroUsd {
        self.cost_with(price, self.bounds.completion_tokens)
    }

    fn cost_with(&self, price: &Price, completion_tokens: u64) -> MicroUsd {
        price.ceiling(Bounds { prompt_tokens: self.prompt_held, completion_tokens })
    }

    /// All of it, if `available` covers that.
    pub fn whole(&self, price: &Price, available: MicroUsd) -> Option<Affordable> {
        let hold = self.cost(price);
        (hold <= available).then_some(Affordable { bounds: self.bounds, hold })
    }

    /// As much output as `available` pays for beside a prompt of `counted` tokens and a tenth more; `None` if not
    /// even the prompt and one token fit. Never less for more money: a count is not above the bound.
    pub fn affordable(&self, price: &Price, counted: u64, available: MicroUsd) -> Option<Affordable> {
        if let Some(whole) = self.whole(price, available) {
            return Some(whole);
        }
        let wanted = self.bounds.completion_tokens;
        let completion_tokens =
            wanted.min(price.affordable_output(with_margin(counted).min(self.prompt_held), available)?);
        let none_left = completion_tokens == 0 && wanted > 0;
        let bounds = Bounds { completion_tokens, ..self.bounds };
        let hold = self.cost_with(price, completion_tokens).min(available);
        (!none_left).then_some(Affordable { bounds, hold })
    }

    /// A prompt of more tokens than these need not be counted to its end: it is not affordable. `None` if no
    /// prompt is.
    pub fn worth_counting(&self, price: &Price, available: MicroUsd) -> Option<u64> {
        let least_output = self.bounds.completion_tokens.min(1);
        price.affordable_prompt(least_output, available).filter(|most| *most > 0)
    }
}

/// What a prompt of `counted` tokens may be by another tokenizer: a tenth more.
pub fn with_margin(counted: u64) -> u64 {
    counted.saturating_add(counted.div_ceil(10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::PriceId;
    use crate::domain::request::Endpoint;
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
                    let expected = WorstCase { bounds, prompt_held: held.unwrap_or(bounds.prompt_tokens) };
                    assert_eq!(WorstCase::of(&r, &row(output), context), expected, "{body}");
                }
                Err(e) => panic!("{body}: {e}"),
            }
        }
    }

    fn worst(prompt_tokens: u64, completion_tokens: u64) -> WorstCase {
        WorstCase { bounds: Bounds { prompt_tokens, completion_tokens }, prompt_held: prompt_tokens }
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
            let affordable = worst(bytes, output).affordable(&price, counted, MicroUsd::new(micro));
            let expected = expected.map(|(completion_tokens, hold)| Affordable {
                bounds: Bounds { prompt_tokens: bytes, completion_tokens },
                hold: MicroUsd::new(hold),
            });
            assert_eq!(affordable, expected, "{bytes} bytes counted {counted}, {micro}");
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
        ) {
            let price = Price { input: MicroUsd::new(input_price), output: MicroUsd::new(output_price), cache_read: None, cache_write: None, cache_write_1h: None };
            let (case, counted) = (worst(bytes, output), bytes * share / 100);
            let of = |micro| case.affordable(&price, counted, MicroUsd::new(micro));
            let tokens = |micro| of(micro).map_or(0, |found| found.bounds.completion_tokens);
            proptest::prop_assert!(tokens(less + more) >= tokens(less));
            if let Some(found) = of(less) {
                proptest::prop_assert!(found.hold <= MicroUsd::new(less));
                proptest::prop_assert_eq!(found.bounds.prompt_tokens, bytes);
            }
        }
    }
}
