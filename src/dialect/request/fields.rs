//! The fields of a request that decide what it may cost, under every name that a server reads them by.
//!
//! A server may take another name than the documented one for the same thing, and let it win: llama.cpp does
//! with `n_predict`, KoboldCpp and TabbyAPI with `max_length`. What stands here is read, bounded or refused
//! wherever it comes from; all else is passed on unread.

use super::BadRequest;
use super::hosted;
use super::lookalike::lookalike;
use crate::domain::endpoint::Endpoint;
use crate::domain::json::{BadJson, TopLevel};

/// The most tokens of the output.
pub(super) const OUTPUT: &[&str] = &[
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n_predict",
    "num_predict",
    "max_new_tokens",
    "max_length",
    "max_gen_toks",
    "max_gen_len",
    "max_generated_tokens",
    "max_tokens_to_sample",
    "max_tokens_to_generate",
    "max_response_tokens",
    "max_response_output_tokens",
    "max_output_length",
    "max_output_len",
    "max_decode_length",
    "maximum_tokens",
    "tokens_to_generate",
    "num_tokens_to_generate",
    "request_output_len",
];

/// The fewest tokens of the output. A server that gives this the last word would go beyond the bound.
pub(super) const LEAST_OUTPUT: &[&str] = &["min_tokens", "min_new_tokens", "min_length", "min_completion_tokens"];

/// How many answers are generated. Servers report the usage of one of them.
pub(super) const COUNTS: &[&str] = &[
    "n",
    "n_cmpl",
    "best_of",
    "num_return_sequences",
    "num_sequences",
    "num_completions",
    "num_generations",
    "num_outputs",
    "num_results",
    "n_choices",
    "candidate_count",
    "beam_width",
    "num_beams",
];

/// What a server would do more of than one answer within the bound.
pub(super) const SWITCHES: &[(&str, &str)] = &[
    ("use_beam_search", "the tokens of a beam search are not counted: leave use_beam_search out"),
    ("auto_max_new_tokens", "the output must be bounded: leave auto_max_new_tokens out"),
    ("prompts", "send one prompt, in a request of its own, as the endpoint's own field"),
];

/// Objects that servers and proxies read as if their fields stood beside them.
const CONTAINERS: &[&str] = &[
    "options",
    "parameters",
    "params",
    "extra_body",
    "extra_params",
    "extra_args",
    "sampling_params",
    "sampling_parameters",
    "sampling_options",
    "generation_config",
    "generation_params",
    "generate_kwargs",
    "generation_kwargs",
    "inference_config",
    "inference_params",
    "model_kwargs",
    "model_params",
    "model_settings",
    "optional_params",
    "custom_params",
    "text_generation_config",
    "vllm_xargs",
    "nvext",
];

/// Objects whose keys are the client's, or describe something else than how much is generated.
const FREE: &[&str] = &[
    "metadata",
    "client_metadata",
    "logit_bias",
    "response_format",
    "text",
    "format",
    "reasoning",
    "thinking",
    "stream_options",
    "tool_choice",
    "function_call",
    "chat_template_kwargs",
    "json_schema",
    "guided_json",
    "prediction",
    "context_management",
];

/// Containers in containers are read down to here.
const DEEPEST: u8 = 8;

/// Every key of the top level that is read or written at an endpoint.
fn ours(endpoint: Endpoint) -> impl Iterator<Item = &'static str> {
    ["model", "stream", "stream_options"]
        .into_iter()
        .chain([endpoint.content_field()])
        .chain(money(endpoint))
        .chain(hosted::keys())
        .chain(endpoint.prompt_fields().iter().copied())
        .chain(endpoint.refused_fields().iter().map(|(field, _)| *field))
}

/// The fields that say how much is generated.
fn money(endpoint: Endpoint) -> impl Iterator<Item = &'static str> {
    let output = if endpoint.generates() { [OUTPUT, LEAST_OUTPUT] } else { [[].as_slice(); 2] };
    let switches = SWITCHES.iter().map(|(field, _)| *field);
    output.into_iter().flatten().copied().chain(COUNTS.iter().copied()).chain(switches)
}

/// Refuses what another program could read as one of these fields: a key that differs only in its spelling, and
/// a field inside an object that some servers unpack.
pub(super) fn check_spelling(endpoint: Endpoint, top: &TopLevel<'_>) -> Result<(), BadRequest> {
    for (key, raw) in top.iter() {
        // A key of ours is most often spelled as we do.
        if !ours(endpoint).any(|our| our == key)
            && let Some(our) = lookalike(key, ours(endpoint))
        {
            return Err(misspelled(key, key, our));
        }
        if raw.starts_with('{') {
            check_object(endpoint, key, raw)?;
        }
    }
    Ok(())
}

fn check_object(endpoint: Endpoint, key: &str, raw: &str) -> Result<(), BadRequest> {
    if lookalike(key, CONTAINERS.iter().copied()).is_some() || CONTAINERS.contains(&key) {
        return check_container(endpoint, key, raw, DEEPEST);
    }
    if FREE.contains(&key) || key == endpoint.content_field() || endpoint.prompt_fields().contains(&key) {
        return Ok(());
    }
    // Not known to be read by anybody: there, only what can mean nothing else.
    let Ok(inner) = TopLevel::read_str(raw) else { return Ok(()) };
    let bounds = || OUTPUT.iter().copied().filter(|_| endpoint.generates());
    match inner.iter().find(|(inner, _)| bounds().any(|our| our == *inner) || lookalike(inner, bounds()).is_some()) {
        Some((inner, _)) => Err(nested(key, inner)),
        None => Ok(()),
    }
}

fn check_container(endpoint: Endpoint, path: &str, raw: &str, depth: u8) -> Result<(), BadRequest> {
    let inner = match TopLevel::read_str(raw) {
        Ok(inner) => inner,
        Err(BadJson::Duplicate(key)) => {
            return Err(BadRequest::field(&format!("{path}.{key}"), BadJson::Duplicate(key).to_string()));
        }
        Err(_) => return Ok(()),
    };
    for (key, raw) in inner.iter() {
        if ours(endpoint).any(|our| our == key) || lookalike(key, ours(endpoint)).is_some() {
            return Err(nested(path, key));
        }
        if raw.starts_with('{') {
            let path = format!("{path}.{key}");
            let deeper = depth.checked_sub(1);
            let deeper = deeper.ok_or_else(|| BadRequest::field(&path, format!("{path} is nested too deep")))?;
            check_container(endpoint, &path, raw, deeper)?;
        }
    }
    Ok(())
}

/// Refuses a key of `stream_options` that a server could read as the one that is written there.
pub(super) fn check_stream_options(options: &TopLevel<'_>) -> Result<(), BadRequest> {
    const OURS: [&str; 1] = ["include_usage"];
    match options.iter().find_map(|(key, _)| lookalike(key, OURS).map(|our| (key, our))) {
        Some((key, our)) => Err(misspelled(&format!("stream_options.{}", shown(key)), key, our)),
        None => Ok(()),
    }
}

fn misspelled(param: &str, key: &str, our: &str) -> BadRequest {
    BadRequest::field(&shown(param), format!("{} must be written {our}", shown(key)))
}

fn nested(path: &str, key: &str) -> BadRequest {
    let path = format!("{}.{}", shown(path), shown(key));
    let message = format!("{path}: a field that decides the cost must stand at the top level of the request");
    BadRequest::field(&path, message)
}

/// A client's key in an error.
fn shown(key: &str) -> String {
    const LONGEST_SHOWN: usize = 100;
    key.chars().filter(|c| !c.is_control()).take(LONGEST_SHOWN).collect()
}
