//! The dialects of clients on servers that speak chat alone: their requests as chat requests, chat answers as theirs.
//! Pure: no I/O, no clock, no async.
//!
//! | room | what it is |
//! |---|---|
//! | `request/` | a client's request as a chat request |
//! | `answer/` | a chat answer or stream in the client's dialect, block by block |
//! | `context` | what of a request its answer must know |
//! | `raw` | JSON read piece by piece; what is carried keeps its bytes |
//! | `room` | how long a chat request may become: it is bounded while it is written |
//! | `sse` | the events of a stream |
//!
//! What no chat server can do is refused by name; what changes nothing in an answer, or what programs ask for unasked,
//! is left out. A stream is translated event by event. Of a stream of messages nothing is kept; of a stream of
//! responses each text once, as it is written, because its last event says all of it again, and 16 MiB at most: a longer
//! one ends there, and costs what was delivered, as any does that is left. What a model calls breaks no answer off:
//! else whoever has it call a thousand tools, or one without a name, would have had the answer for nothing. Beside
//! that a stream takes the translator (below 2 KiB), what its last event said beside its text (1 KiB at most) and what
//! of the request the answer repeats (9 values of 4 KiB at most, some hundred bytes in practice).
//!
//! # Requests of the Responses dialect
//!
//! | field | | how | test |
//! |---|---|---|---|
//! | `model` `stream` `temperature` `top_p` `user` | carried | as they are; a stream is asked to tell its usage | `fields_of_responses_are_carried` |
//! | `max_output_tokens` | carried | `max_tokens` | `fields_of_responses_are_carried` |
//! | `reasoning.effort` | carried | `reasoning_effort`, in the words that servers know; `none` as templates are told | `fields_of_responses_are_carried` |
//! | `reasoning.summary` | carried | the answer's reasoning stands where its summary would | `a_client_that_asks_for_summaries_gets_the_reasoning_in_their_place` |
//! | `text.format` `text.verbosity` | carried | `response_format`, `verbosity` | `fields_of_responses_are_carried` |
//! | `instructions` | carried | the system message | `what_is_said_in_responses_is_said_in_chat` |
//! | `tools`: `function`, `namespace`, `custom` | carried | functions; a namespace goes before the name, a custom tool is a function of one text, its grammar in the description; the answer has their own names and forms | `tools_of_responses_are_functions`, `a_custom_tool_is_a_function_of_one_text`, `custom_tools_and_namespaces_have_their_names_again` |
//! | `tools`: all others | left out | a server would have to run them, or was taught them | `tools_of_responses_are_functions` |
//! | `tool_choice` `parallel_tool_calls` | carried | also `allowed_tools`; one that requires a tool that was left out is refused | `tools_of_responses_are_functions`, `what_no_chat_server_does_is_refused_in_responses` |
//! | `store` `metadata` `service_tier` `truncation` `stream_options` `prompt_cache_key` `prompt_cache_retention` `safety_identifier` `client_metadata` `max_tool_calls` `context_management` `include` | left out | | `what_changes_nothing_in_a_response_is_left_out` |
//! | `previous_response_id` `conversation` `background` `prompt` `top_logprobs`, `include` of log probabilities | refused | | `what_no_chat_server_does_is_refused_in_responses` |
//! | any other | carried | as it is: the server's own | `fields_of_responses_are_carried` |
//!
//! | item or part | | how | test |
//! |---|---|---|---|
//! | `message` of `user` or `assistant`; `input_text` `output_text` `refusal` | carried | text; neighbours of one role are one message | `what_is_said_in_responses_is_said_in_chat` |
//! | `message` of `system` or `developer` | carried | in the system message up to the first answer, then in a user's message, marked | `what_is_said_in_responses_is_said_in_chat` |
//! | `input_image` by address or inline | carried | `image_url` | `what_is_said_in_responses_is_said_in_chat` |
//! | `input_file` of text | carried | text, its name before it | `what_is_said_in_responses_is_said_in_chat` |
//! | `function_call` `custom_tool_call` | carried | `tool_calls` of one message | `calls_of_responses_are_calls_of_chat` |
//! | `function_call_output` `custom_tool_call_output` | carried | a tool's message; pictures in a user's message after the last of them | `calls_of_responses_are_calls_of_chat` |
//! | `reasoning` | carried | `reasoning_content`, of its content or else its summary; encrypted content is left out | `calls_of_responses_are_calls_of_chat` |
//! | `additional_tools` `tool_search_output` | carried | among the tools | `tools_of_responses_are_functions` |
//! | `agent_message` | carried | a user's message | `what_is_said_in_responses_is_said_in_chat` |
//! | `web_search_call` `file_search_call` `code_interpreter_call` `image_generation_call` `mcp_list_tools` `mcp_call` `tool_search_call` | left out | what came of it is in the answer after it | `what_is_said_in_responses_is_said_in_chat` |
//! | `item_reference`, `file_id`, `file_url`, files that are no text, `input_audio`, `computer_call_output`, `compaction`, `mcp_approval_response`, any other | refused | | `what_no_chat_server_does_is_refused_in_responses` |
//!
//! # Requests of the Messages dialect
//!
//! | field | | how | test |
//! |---|---|---|---|
//! | `model` `stream` `max_tokens` `temperature` `top_p` `top_k` | carried | as they are; a stream is asked to tell its usage | `fields_of_messages_are_carried` |
//! | `stop_sequences` | carried | `stop`; the one that came is named where the server says it | `fields_of_messages_are_carried`, `the_text_that_ended_an_answer_is_named_where_the_server_says_it` |
//! | `system` | carried | the system message, without Claude Code's line for bookkeeping | `what_is_said_in_messages_is_said_in_chat` |
//! | `thinking` | carried | `disabled` as templates are told; a budget is left out | `fields_of_messages_are_carried` |
//! | `output_config.effort` `output_config.format` `output_format` | carried | `reasoning_effort`, `response_format` | `fields_of_messages_are_carried` |
//! | `tools` with a schema | carried | functions; those with `defer_loading` once the conversation has found them | `tools_of_messages_are_functions` |
//! | `tools` that the server runs | left out | `web_search_…`, `web_fetch_…`, `code_execution_…` and others | `tools_of_messages_are_functions` |
//! | `tools` that the model was taught (`bash_…`, `text_editor_…`, `computer_…`, `memory_…`) | refused | | `what_no_chat_server_does_is_refused_in_messages` |
//! | `tool_choice` | carried | `disable_parallel_tool_use` is `parallel_tool_calls`; one that requires a tool that was left out is refused | `tools_of_messages_are_functions`, `what_no_chat_server_does_is_refused_in_messages` |
//! | `metadata` `service_tier` `context_management` `cache_control` `betas` `anthropic_beta` `anthropic_version` `speed` `inference_geo` `diagnostics` | left out | | `what_changes_nothing_in_a_message_is_left_out` |
//! | `container` `mcp_servers` `fallbacks` | refused | | `what_no_chat_server_does_is_refused_in_messages` |
//! | any other | carried | as it is: the server's own | `fields_of_messages_are_carried` |
//!
//! | block | | how | test |
//! |---|---|---|---|
//! | `text` `compaction` | carried | text; `cache_control` and `citations` are left out | `what_is_said_in_messages_is_said_in_chat` |
//! | a message of `system` | carried | as in the Responses dialect | `what_is_said_in_messages_is_said_in_chat` |
//! | `image` by address or inline | carried | `image_url` | `what_is_said_in_messages_is_said_in_chat` |
//! | `document` of text or of blocks, `search_result` | carried | text, title and context before it | `what_is_said_in_messages_is_said_in_chat` |
//! | `tool_use` | carried | `tool_calls` | `calls_of_messages_are_calls_of_chat` |
//! | `tool_result` | carried | a tool's message before all else that the user says; `is_error` as a word before it, pictures in a user's message | `calls_of_messages_are_calls_of_chat` |
//! | `thinking` | carried | `reasoning_content` | `calls_of_messages_are_calls_of_chat` |
//! | `tool_reference` `tool_addition` `tool_removal` | carried | which tools there are | `tools_of_messages_are_functions` |
//! | `redacted_thinking` `server_tool_use` `web_search_tool_result` and the results of other server tools, `mcp_tool_use` `mcp_tool_result` `fallback` | left out | what came of it is in the text after it | `calls_of_messages_are_calls_of_chat` |
//! | `container_upload`, `file` sources, documents by address or that are no text, any other | refused | | `what_no_chat_server_does_is_refused_in_messages` |
//!
//! # Answers
//!
//! | in a chat answer | Responses | Messages | test |
//! |---|---|---|---|
//! | the first chunk | `response.created` `response.in_progress` | `message_start` | `the_first_event_is_out_when_the_first_is_in` |
//! | `content` | `message`: `output_item.added` `content_part.added` `output_text.delta` `.done` `content_part.done` `output_item.done` | `text`: `content_block_start` `text_delta` `content_block_stop` | `recorded_streams_say_the_same_in_both_dialects`, `blocks_follow_what_the_server_says` |
//! | `reasoning_content` `reasoning`, parts of `thinking` | `reasoning`: `reasoning_text.delta` `.done` in a part, or `reasoning_summary_part.…` `reasoning_summary_text.…` | `thinking`: `thinking_delta` `signature_delta` | the same |
//! | `<think>` in the content | reasoning, of servers that are marked to write it so | the same | `thoughts_in_the_content_are_reasoning_where_a_server_is_marked` |
//! | `refusal` | `refusal.delta` `.done` | `text`, and `stop_reason` `refusal` | `every_end_has_its_word` |
//! | `tool_calls` `function_call` | `function_call`: `function_call_arguments.delta` `.done`; `custom_tool_call`: `custom_tool_call_input.delta` `.done` | `tool_use`: `input_json_delta` | `calls_come_whole_and_in_order_however_a_server_sends_them` |
//! | `finish_reason` | `response.completed`, or `.incomplete` with its reason | `stop_reason` in `message_delta` | `every_end_has_its_word` |
//! | `usage`, the cost in it too | in the last event | in `message_delta`, with the counts that clients read from `message_start`, which cannot know them | `counts_are_said_in_both_dialects`, `the_cost_goes_along_with_the_usage` |
//! | comments | `: keep-alive` | the same | `the_first_event_is_out_when_the_first_is_in` |
//! | an error, or what cannot be read | `response.failed` | `error` | `recorded_streams_that_break_off_are_no_answers`, `what_is_no_chat_stream_breaks_off` |
//! | `logprobs` `annotations` `audio` `images` | left out | left out | |
//! | a second choice | left out: one is asked for | the same | |
//!
//! Never sent, since no chat server has a cause for them: the events of hosted tools, `output_text.annotation.added`,
//! `response.queued`, `citations_delta`, `compaction_delta`, `ping`.

mod raw;
mod room;
mod context;
mod sse;
mod request;
mod answer;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use answer::stream::StreamTranslator;
pub use answer::whole::WholeTranslation;
pub use context::{ClientDialect, Context};
pub use room::Untranslated;

use crate::dialect::request::BadRequest;
use crate::domain::json::TopLevel;
use room::Room;

/// A request as the chat server gets it.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// The body of `POST /v1/chat/completions`: the client's model, stream and bound; a stream is asked to tell its
    /// usage.
    pub body: Vec<u8>,
    /// For the answer.
    pub context: Arc<Context>,
}

/// What an answer is called, beside what the server says of it.
#[derive(Debug, Clone, Copy)]
pub struct Answering<'a> {
    /// Its id without the prefix of a dialect, another one for each answer: `resp_…`, `msg_…` and the ids of its
    /// parts are made of it.
    pub id: &'a str,
    /// The model, as the client calls it.
    pub model: &'a str,
    /// The server writes its reasoning into the content, between `<think>` and `</think>`.
    pub think_tags: bool,
}

/// Why a server's answer cannot be translated. Says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's chat answer cannot be translated: {why}")]
pub struct Broken {
    why: &'static str,
    /// It is more than may be kept: the server did nothing wrong.
    pub is_too_long: bool,
}

impl Broken {
    const fn new(why: &'static str) -> Self {
        Self { why, is_too_long: false }
    }

    const fn too_long() -> Self {
        Self { why: "more of it would have to be kept than may be", is_too_long: true }
    }
}

/// No request needs a bound of more than so many times its bytes: a tool of a few, in a namespace with a name of some
/// hundred.
pub const LARGEST_GROWTH: usize = 48;

/// A request of `dialect` as a chat request of at most `most` bytes. What it takes in memory meanwhile is no more than
/// twice that beside the body.
///
/// # Errors
/// It is malformed, or asks for what no chat server can do: `param` names the place. Or it would be longer than `most`.
pub fn request(dialect: ClientDialect, body: &[u8], most: usize) -> Result<ChatRequest, Untranslated> {
    let top = TopLevel::read(body).map_err(BadRequest::from)?;
    let room = Room::new(most);
    let (body, context) = match dialect {
        ClientDialect::Responses => request::responses::request(&top, &room)?,
        ClientDialect::Messages => request::messages::request(&top, &room)?,
    };
    Ok(ChatRequest { body: body.into_bytes(), context: Arc::new(context) })
}
