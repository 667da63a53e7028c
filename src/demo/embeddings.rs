//! `POST /v1/embeddings`: unit vectors that depend on nothing but the text; texts that share tokens
//! lie closer together, so that a search over them is not all nonsense.
// A vector is made of floats, and no money is near.
#![allow(clippy::float_arithmetic)]

use serde_json::{Map, Value, json};

use super::ask::{Ask, Unanswerable, whole};
use super::tokens;

const DIMENSION: usize = 64;
const LARGEST_DIMENSION: usize = 4096;

/// Answers a request.
///
/// # Errors
/// No input, or one that is neither texts nor token ids; an unknown encoding.
pub fn answer(ask: &Ask) -> Result<Value, Unanswerable> {
    let inputs = inputs(ask.body.get("input"))?;
    let dimension = whole(&ask.body, "dimensions")?.unwrap_or(DIMENSION);
    if !(1..=LARGEST_DIMENSION).contains(&dimension) {
        return Err(Unanswerable::field("dimensions", "dimensions must be 1 to 4096"));
    }
    let base64 = in_base64(&ask.body)?;
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, tokens)| {
            let vector = vector(tokens, dimension);
            let shown = if base64 { json!(base64_of(&vector)) } else { json!(vector) };
            json!({"object": "embedding", "index": index, "embedding": shown})
        })
        .collect();
    let tokens = inputs.iter().fold(0_usize, |sum, tokens| sum.saturating_add(tokens.len()));
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(json!({"object": "list", "model": ask.model, "data": data, "usage": usage}))
}

fn in_base64(body: &Map<String, Value>) -> Result<bool, Unanswerable> {
    match body.get("encoding_format") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::String(name)) if name == "float" => Ok(false),
        Some(Value::String(name)) if name == "base64" => Ok(true),
        Some(_) => Err(Unanswerable::field("encoding_format", "encoding_format must be float or base64")),
    }
}

/// The token ids of each input.
fn inputs(value: Option<&Value>) -> Result<Vec<Vec<u64>>, Unanswerable> {
    let bad = || Unanswerable::field("input", "input must be a text, a list of texts, or lists of token ids");
    match value {
        Some(Value::String(text)) => Ok(vec![tokens::ids(text)]),
        Some(Value::Array(list)) if list.is_empty() => Err(bad()),
        Some(Value::Array(list)) if list.iter().all(Value::is_u64) => {
            Ok(vec![list.iter().filter_map(Value::as_u64).collect()])
        }
        Some(Value::Array(list)) => list
            .iter()
            .map(|one| match one {
                Value::String(text) => Ok(tokens::ids(text)),
                Value::Array(ids) => ids.iter().map(|id| id.as_u64().ok_or_else(bad)).collect(),
                _ => Err(bad()),
            })
            .collect(),
        _ => Err(bad()),
    }
}

/// The sum of a fixed random direction per token, made one long.
fn vector(tokens: &[u64], dimension: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f32; dimension];
    for token in tokens {
        let mut state = *token;
        for place in &mut sum {
            *place += next_step(&mut state);
        }
    }
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        sum.iter_mut().for_each(|x| *x /= length);
    } else if let Some(first) = sum.first_mut() {
        *first = 1.0;
    }
    sum
}

/// SplitMix64, as a number from -0.5 to 0.5.
fn next_step(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let top = u16::try_from((z ^ (z >> 31)) >> 48).unwrap_or(0);
    f32::from(top) / f32::from(u16::MAX) - 0.5
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The vector's little-endian bytes in base64: what the Python SDK asks for.
fn base64_of(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().chain([0, 0].iter()).take(3).fold(0_u32, |bits, b| (bits << 8) | u32::from(*b));
        for place in 0..4 {
            let six = usize::try_from((bits >> (18 - 6 * place)) & 63).unwrap_or(0);
            let real = usize::try_from(place).unwrap_or(0) <= group.len();
            text.push(if real { ALPHABET.get(six).map_or('=', |b| char::from(*b)) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(more: Value) -> Result<Value, Unanswerable> {
        let mut body = json!({"model": "m"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        answer(&Ask::read(body.to_string().as_bytes(), &[], "stop").unwrap())
    }

    fn floats(answer: &Value, index: usize) -> Vec<f64> {
        answer["data"][index]["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    }

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn vectors_are_one_long_stable_and_near_for_near_texts() {
        let texts = json!(["the red cat sat on the mat", "the red cat sat", "invoice 4711 is overdue"]);
        let a = ask(json!({"input": texts})).unwrap();
        let [cat, mat, bill] = [0, 1, 2].map(|i| floats(&a, i));
        assert_eq!(cat.len(), 64);
        assert!((dot(&cat, &cat) - 1.0).abs() < 1e-5);
        assert!(dot(&cat, &mat) > dot(&cat, &bill) + 0.3);
        assert_eq!(a, ask(json!({"input": texts})).unwrap());
    }

    #[test]
    fn inputs_of_every_shape_are_counted() {
        for (input, tokens, vectors) in [
            (json!("Say hello."), 3, 1),
            (json!(["Say hello.", "Say hello."]), 6, 2),
            (json!([5, 6]), 2, 1),
            (json!([[5, 6], [7]]), 3, 2),
        ] {
            let a = ask(json!({"input": input})).unwrap();
            assert_eq!(a["usage"]["prompt_tokens"], tokens, "{input}");
            assert_eq!(a["data"].as_array().unwrap().len(), vectors);
        }
        assert_eq!(floats(&ask(json!({"input": "x", "dimensions": 8})).unwrap(), 0).len(), 8);
        let bad = [json!({}), json!({"input": []}), json!({"input": [1, "a"]}), json!({"input": "x", "dimensions": 0})];
        for more in bad {
            assert!(ask(more).is_err());
        }
    }

    #[test]
    fn base64_is_the_usual_one() {
        assert_eq!(base64_of(&[1.0]), "AACAPw==");
        assert_eq!(base64_of(&[1.0, -2.0]), "AACAPwAAAMA=");
        assert_eq!(base64_of(&[1.0, 1.0, 1.0]), "AACAPwAAgD8AAIA/");
        let a = ask(json!({"input": "x", "encoding_format": "base64"})).unwrap();
        assert_eq!(a["data"][0]["embedding"].as_str().unwrap().len(), 344);
    }
}
