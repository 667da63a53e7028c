//! A chat stream in the client's dialect, event by event.

use std::borrow::Cow;
use std::sync::Arc;

use super::alike::Alike;
use super::block::{Finish, Target};
use super::chunk::{self, Choice, Chunk, Delta, Function};
use super::counts::Counts;
use super::events::Writer;
use super::in_messages::InMessages;
use super::in_responses::InResponses;
use super::order::Order;
use super::think::Thoughts;
use crate::dialect::translate::context::{ClientDialect, Context};
use crate::dialect::translate::raw::{decoded, escaped};
use crate::dialect::translate::sse::{Events, Seen};
use crate::dialect::translate::{Answering, Broken};

/// What the last events say again is kept up to here, in bytes; a longer answer breaks off. The Messages dialect says
/// nothing again.
const MOST_KEPT: usize = 16 << 20;

const NO_CHUNK: Broken = Broken::new("an event is no chat chunk");
const ERROR: Broken = Broken::new("the server reported an error");

/// The data of an event, unless it says only that all was said.
fn data_of<'a>(name: &[u8], data: &'a [u8]) -> Result<Option<&'a str>, Broken> {
    match (name, data) {
        (b"error", _) => Err(ERROR),
        (_, b"[DONE]") => Ok(None),
        (_, data) => std::str::from_utf8(data).map(Some).map_err(|_| Broken::new("an event is not UTF-8")),
    }
}

fn chunk_of(data: &str) -> Result<Chunk<'_>, Broken> {
    let chunk: Chunk<'_> = serde_json::from_str(data).map_err(|_| NO_CHUNK)?;
    if chunk.error.is_some() { Err(ERROR) } else { Ok(chunk) }
}

/// A chat stream as it passes, in the client's dialect.
///
/// The end comes with [`Self::end`], not with the last chunk: the usage is written there, since it may come last.
#[derive(Debug)]
pub struct StreamTranslator {
    events: Events,
    answer: Answer,
}

/// An answer as it comes, whole or in pieces.
#[derive(Debug)]
pub(super) struct Answer {
    writer: Writer,
    order: Order,
    /// Reasoning stands in the content.
    thoughts: Option<Thoughts>,
    /// Begins the ids of calls that have none.
    call_id: String,
    context: Arc<Context>,
    alike: Alike,
    finish: Option<Finish>,
    counts: Counts,
    /// What may be kept, in bytes.
    most_kept: usize,
    started: bool,
    ended: bool,
}

impl StreamTranslator {
    /// A translator of one stream.
    pub fn new(context: &Arc<Context>, answering: &Answering<'_>) -> Self {
        Self { events: Events::default(), answer: Answer::new(context, answering, None) }
    }

    /// Takes the next bytes of the chat stream, cut anywhere, and appends to `out` what the client gets for them.
    ///
    /// # Errors
    /// The stream cannot be read on: what is in `out` may go to the client, and [`Self::fail`] ends it.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        let answer = &mut self.answer;
        self.events.push(bytes, |seen| match seen {
            Seen::Comment => {
                out.extend_from_slice(b": keep-alive\n\n");
                Ok(())
            }
            Seen::Event(name, data) => match data_of(name, data)? {
                Some(data) => answer.event(data, out),
                None => Ok(()),
            },
        })
    }

    /// Looks at the end of the stream before it is told: what follows all that was pushed.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn check<'a>(&self, end: impl Iterator<Item = &'a [u8]>) -> Result<(), Broken> {
        // What ends an event that is here in part is read with it.
        if self.events.kept() > 0 {
            return Ok(());
        }
        let mut events = Events::default();
        for bytes in end {
            events.push(bytes, |seen| match seen {
                Seen::Event(name, data) => data_of(name, data)?.map_or(Ok(()), |data| {
                    let chunk = chunk_of(data)?;
                    let choice = chunk.choices.asked.as_ref();
                    let delta = choice.and_then(|choice| choice.delta.as_ref().or(choice.message.as_ref()));
                    let is_read = delta.is_none_or(|delta| delta.calls().all(|call| call.is_some()));
                    if is_read { Ok(()) } else { Err(NO_CHUNK) }
                }),
                Seen::Comment => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Gives up an event of which not all came: nothing follows it, or the end of another stream does.
    pub fn forget_partial(&mut self) {
        self.events.forget();
    }

    /// The stream is over: the last events, with the usage.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.answer.end(out);
    }

    /// The stream broke off: the dialect's last event says so. `code` and `message` are for the client.
    pub fn fail(&mut self, code: &str, message: &str, out: &mut Vec<u8>) {
        self.answer.fail(code, message, out);
    }

    /// What is kept of the answer to be said again at the end, in bytes. The translator itself takes some hundred more.
    pub fn kept(&self) -> usize {
        self.events.kept() + self.answer.kept()
    }
}

impl Answer {
    /// `whole`: it is not streamed, and so many bytes of it may be kept.
    pub fn new(context: &Arc<Context>, answering: &Answering<'_>, whole: Option<usize>) -> Self {
        let is_whole = whole.is_some();
        let id = escaped(answering.id);
        let writer = match context.dialect {
            ClientDialect::Responses => Writer::Responses(InResponses::new(&id, answering.model, context, is_whole)),
            ClientDialect::Messages => Writer::Messages(InMessages::new(&id, answering.model, is_whole)),
        };
        Self {
            writer,
            order: Order::default(),
            thoughts: answering.think_tags.then(Thoughts::default),
            call_id: format!("call_{id}"),
            context: Arc::clone(context),
            alike: Alike::default(),
            finish: None,
            counts: Counts::default(),
            most_kept: whole.unwrap_or(MOST_KEPT),
            started: false,
            ended: false,
        }
    }

    /// Reads a chunk, or a whole answer.
    pub fn event(&mut self, data: &str, out: &mut Vec<u8>) -> Result<(), Broken> {
        if let Some((target, text)) = self.alike.text(data) {
            self.put(target, text, out);
            return self.check_kept();
        }
        let chunk = chunk_of(data)?;
        if !self.started {
            self.started = true;
            self.writer.start(chunk::number(chunk.created).unwrap_or(0), out);
        }
        if let Some(choice) = &chunk.choices.asked {
            self.choice(choice, out)?;
        }
        // Where thoughts stand in the text, it is read in another way.
        if self.thoughts.is_none() {
            self.alike.remember(data, &chunk);
        }
        if let Some(usage) = chunk.usage {
            self.used(usage.get());
        }
        self.check_kept()
    }

    /// Reads a usage object.
    pub fn used(&mut self, usage: &str) {
        let counts = Counts::read(usage);
        // Some servers say zeros before the end.
        if counts != Counts::default() {
            self.counts = counts;
        }
    }

    fn check_kept(&self) -> Result<(), Broken> {
        if self.kept() > self.most_kept { Err(Broken::too_long()) } else { Ok(()) }
    }

    fn choice(&mut self, choice: &Choice<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
        if let Some(delta) = choice.delta.as_ref().or(choice.message.as_ref()) {
            self.delta(delta, choice.message.is_some(), out)?;
        }
        let finish = match chunk::written(choice.finish_reason) {
            "" => return Ok(()),
            "length" | "max_tokens" => Finish::Length,
            "tool_calls" | "function_call" => Finish::Calls,
            "content_filter" => Finish::Filter,
            _ => match decoded(chunk::written(choice.stop_reason)) {
                Some(text) if self.context.stops.iter().any(|stop| *stop == text) => {
                    Finish::StoppedBy(text.into_owned())
                }
                _ => Finish::Stop,
            },
        };
        self.finish = Some(finish);
        Ok(())
    }

    fn delta(&mut self, delta: &Delta<'_>, is_whole: bool, out: &mut Vec<u8>) -> Result<(), Broken> {
        self.put(Target::Reasoning, delta.thought(), out);
        delta.said(|is_thought, text| self.said(is_thought, text, out));
        self.put(Target::Refusal, chunk::written(delta.refusal), out);
        for (place, call) in delta.calls().enumerate() {
            let call = call.ok_or(NO_CHUNK)?;
            // The calls of a whole answer have no numbers.
            let place = is_whole.then(|| u64::try_from(place).unwrap_or(u64::MAX));
            let number = place.or_else(|| chunk::number(call.index));
            self.call(number, chunk::written(call.id), &call.function.unwrap_or_default(), out);
            self.check_kept()?;
        }
        if let Some(function) = &delta.function_call {
            self.call(Some(0), "", function, out);
        }
        Ok(())
    }

    fn said(&mut self, is_thought: bool, text: &str, out: &mut Vec<u8>) {
        match (&mut self.thoughts, is_thought) {
            (_, true) => self.put(Target::Reasoning, text, out),
            (None, false) => self.put(Target::Text, text, out),
            (Some(thoughts), false) => {
                for (is_thought, text) in thoughts.read(text) {
                    self.put(if is_thought { Target::Reasoning } else { Target::Text }, &text, out);
                }
            }
        }
    }

    fn call(&mut self, number: Option<u64>, id: &str, function: &Function<'_>, out: &mut Vec<u8>) {
        let name = chunk::written(function.name);
        let at = match self.order.known(number, id, name) {
            Some(at) => at,
            None if id.is_empty() && name.is_empty() && chunk::is_nothing(function.arguments) => return,
            None => {
                let made = || format!("{}_{}", self.call_id, self.order.calls());
                let id = if id.is_empty() { made() } else { id.to_owned() };
                // Half a character is in no name of a tool, nor is nothing: the client sees that it has no such tool.
                let name = decoded(name).map_or_else(|| name.replace('\\', "\u{fffd}"), Cow::into_owned);
                self.order.begin(number, id, name)
            }
        };
        match function.arguments.map(|raw| raw.get()) {
            // Not a text, but what it would hold (Ollama's own form).
            Some(raw) if raw.starts_with('{') => self.put(Target::Call(at), &escaped(raw), out),
            _ => self.put(Target::Call(at), chunk::written(function.arguments), out),
        }
    }

    fn put(&mut self, target: Target, text: &str, out: &mut Vec<u8>) {
        self.order.put(target, text, &mut self.writer, out);
    }

    /// All has come, and the blocks are closed.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if let Some((is_thought, text)) = self.thoughts.as_mut().map(Thoughts::rest) {
            self.put(if is_thought { Target::Reasoning } else { Target::Text }, &text, out);
        }
        self.order.end(&mut self.writer, out);
    }

    /// A server may say that it merely stopped where it called.
    fn finish(&self) -> Finish {
        match &self.finish {
            None | Some(Finish::Stop) if self.order.calls() > 0 => Finish::Calls,
            finish => finish.clone().unwrap_or_default(),
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if !self.started {
            self.started = true;
            self.writer.start(0, out);
        }
        self.close(out);
        self.writer.finish(&self.finish(), &self.counts, out);
    }

    fn fail(&mut self, code: &str, message: &str, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if !self.started {
            self.started = true;
            self.writer.start(0, out);
        }
        self.writer.fail(code, message, out);
    }

    /// The whole answer as one object, once it is closed.
    pub fn whole(&self) -> String {
        self.writer.whole(&self.finish(), &self.counts)
    }

    /// What is kept of it, in bytes.
    pub fn kept(&self) -> usize {
        self.order.kept() + self.writer.kept()
    }
}
