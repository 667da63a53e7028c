//! What a request says of how its pictures and films are to be read: larger than their processors would by themselves.

use memchr::memmem;

use super::media::Medium;
use super::prompt::holds_parts;
use crate::dialect::request::InferenceRequest;
use crate::domain::number::{Whole, whole};

/// Fields whose numbers steer a processor (vLLM, SGLang).
const FIELDS: [&str; 8] = [
    "mm_processor_kwargs",
    "media_io_kwargs",
    "images_kwargs",
    "videos_kwargs",
    "images_config",
    "max_dynamic_patch",
    "image_max_dynamic_patch",
    "video_max_dynamic_patch",
];
/// Keys of a part that do.
const OF_A_PART: [&str; 9] = [
    "min_pixels",
    "max_pixels",
    "total_pixels",
    "min_dynamic_patch",
    "max_dynamic_patch",
    "num_frames",
    "max_frames",
    "resized_height",
    "resized_width",
];

/// Up to here a number may count tiles, frames or the pixels of an edge; above it is an area in pixels.
const AREA: u64 = 65_536;
/// The most tokens of a tile or a frame, and more than an edge makes of each of its pixels.
const OF_A_TILE: u64 = 1_024;
/// The pixels of the smallest patch in use, 14 by 14.
const PATCH: u64 = 196;

/// The largest number that `request` says of how media are to be read; 0 if it says nothing.
pub fn largest(request: &InferenceRequest<'_>) -> u64 {
    request.prompt_fields().fold(0, |largest, (name, raw)| {
        let here = if FIELDS.contains(&name) {
            numbers(raw).max().unwrap_or(0)
        } else if holds_parts(name) {
            OF_A_PART.iter().flat_map(|key| of_key(raw, key)).max().unwrap_or(0)
        } else {
            0
        };
        largest.max(here)
    })
}

/// The most tokens that one medium can count as where that number was said.
pub fn most_tokens(medium: Medium, largest: u64) -> u64 {
    let enlarged = match medium {
        Medium::Picture | Medium::Film if largest < AREA => largest.saturating_mul(OF_A_TILE),
        Medium::Picture | Medium::Film => largest / PATCH,
        Medium::Sound | Medium::File => 0,
    };
    medium.most_tokens().max(enlarged)
}

/// The numbers in some JSON, also those in its strings. What is no whole number counts as the largest.
fn numbers(json: &str) -> impl Iterator<Item = u64> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-' | 'e' | 'E');
    let runs = json.split(move |c| !is_part(c)).map(|run| run.trim_start_matches(['e', 'E', '.', '+']));
    runs.filter(|run| run.starts_with(|c: char| c.is_ascii_digit())).map(|run| match whole(run) {
        Whole::Natural(n) => n,
        Whole::MinusOne | Whole::Other => fraction(run).unwrap_or(u64::MAX),
    })
}

/// `2.5` and the like, rounded up.
fn fraction(number: &str) -> Option<u64> {
    let (int, part) = number.split_once('.')?;
    let is_plain = part.bytes().all(|b| b.is_ascii_digit());
    int.parse::<u64>().ok().filter(|_| is_plain)?.checked_add(1)
}

/// The numbers that stand right behind a key.
fn of_key<'a>(json: &'a str, key: &str) -> impl Iterator<Item = u64> + use<'a> {
    let quoted = format!("\"{key}\"");
    let places: Vec<usize> = memmem::find_iter(json.as_bytes(), &quoted).map(|at| at + quoted.len()).collect();
    places.into_iter().filter_map(|at| {
        let value = json.get(at..)?.trim_ascii_start().strip_prefix(':')?;
        let end = value.find([',', '}', ']']).unwrap_or(value.len());
        numbers(value.get(..end)?).max()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::Endpoint;

    #[test]
    fn what_enlarges_a_picture_is_read() {
        let rows = [
            ("", 0),
            (r#","mm_processor_kwargs":{"max_pixels":12845056,"fps":2.5}"#, 12_845_056),
            (r#","mm_processor_kwargs":{"size":{"longest_edge":1e8},"model2":"-"}"#, 100_000_000),
            (r#","mm_processor_kwargs":{"num_crops":"400"}"#, 400),
            (r#","mm_processor_kwargs":{"fps":2.5}"#, 3),
            (r#","mm_processor_kwargs":{"fps":1e400}"#, u64::MAX),
            (r#","media_io_kwargs":{"video":{"num_frames":32}}"#, 32),
            (r#","messages2":{"max_pixels":9}"#, 0),
        ];
        for (more, expected) in rows {
            let body = format!(r#"{{"model":"m","messages":[{{"content":[{{"type":"image_url"}}]}}]{more}}}"#);
            match InferenceRequest::read(Endpoint::ChatCompletions, body.as_bytes()) {
                Ok(request) => assert_eq!(largest(&request), expected, "{more}"),
                Err(e) => panic!("{body}: {e}"),
            }
        }
        let body = br#"{"model":"m","messages":[{"content":[{"type":"video","min_pixels" : 70000, "x":1}, {"max_pixels":9}]}]}"#;
        let read = InferenceRequest::read(Endpoint::ChatCompletions, body);
        assert_eq!(read.map(|request| largest(&request)).ok(), Some(70_000));
    }

    #[test]
    fn a_number_only_ever_enlarges() {
        let rows = [
            (Medium::Picture, 0, 49_152),
            (Medium::Picture, 2, 49_152),
            (Medium::Picture, 400, 409_600),
            (Medium::Picture, 12_845_056, 65_536),
            (Medium::Picture, 100_352, 49_152),
            (Medium::Picture, 100_000_000, 510_204),
            (Medium::Film, 32, 131_072),
            (Medium::Film, 768, 786_432),
            (Medium::Sound, 400, 65_536),
            (Medium::File, u64::MAX, 524_288),
        ];
        for (medium, largest, tokens) in rows {
            assert_eq!(most_tokens(medium, largest), tokens, "{medium:?} {largest}");
        }
    }
}
