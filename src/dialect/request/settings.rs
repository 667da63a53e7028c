//! The fields of a request that steer a server and are no part of its prompt.

/// Settings by their names. What is not here may reach a chat template (`documents`, `chat_template_kwargs`,
/// `prefix`, a field that a server invents next year), so its text counts towards the prompt.
const SETTINGS: [&str; 83] = [
    "add_bos_token",
    "add_eos_token",
    "add_generation_prompt",
    "add_special_tokens",
    "allowed_token_ids",
    "audio",
    "bad_words",
    "best_of",
    "cache_control",
    "cache_prompt",
    "container",
    "context_management",
    "continue_final_message",
    "dimensions",
    "dynatemp_exponent",
    "dynatemp_range",
    "echo",
    "encoding_format",
    "frequency_penalty",
    "grammar",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "id_slot",
    "ignore_eos",
    "include",
    "include_reasoning",
    "include_stop_str_in_output",
    "inference_geo",
    "keep_alive",
    "length_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "max_tool_calls",
    "metadata",
    "min_p",
    "min_tokens",
    "mirostat",
    "modalities",
    "model",
    "n",
    "n_cmpl",
    "n_predict",
    "n_probs",
    "num_ctx",
    "parallel_tool_calls",
    "presence_penalty",
    "priority",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_logprobs",
    "reasoning",
    "reasoning_effort",
    "reasoning_format",
    "repeat_last_n",
    "repeat_penalty",
    "repetition_penalty",
    "return_tokens",
    "safety_identifier",
    "samplers",
    "seed",
    "service_tier",
    "skip_special_tokens",
    "stop",
    "stop_sequences",
    "stop_token_ids",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "thinking",
    "timings_per_token",
    "tool_choice",
    "top_k",
    "top_logprobs",
    "top_p",
    "truncation",
    "typical_p",
    "user",
];

/// The field of that name is a setting of the server, no part of a prompt.
pub(super) fn is_setting(name: &str) -> bool {
    SETTINGS.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_in_order_and_what_is_unknown_is_none() {
        assert!(SETTINGS.is_sorted());
        assert!(is_setting("temperature") && is_setting("user") && is_setting("add_bos_token"));
        for prompt in ["messages", "documents", "chat_template_kwargs", "prefix", "tools", "response_format", "", "x"] {
            assert!(!is_setting(prompt), "{prompt}");
        }
    }
}
