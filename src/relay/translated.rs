//! An answer on its way from the meter to the client: as the server wrote it, or translated from chat.
//!
//! The meter looks at what the server says, before it is translated: there is one truth about what was used, and the
//! receipt that it writes into the usage goes along.

use std::sync::Arc;

use bytes::Bytes;

use super::complete::CompleteAnswer;
use crate::dialect::failure::StreamFailure;
use crate::dialect::receipt::Receipt;
use crate::dialect::translate::{Answering, Broken, ClientDialect, Context, StreamTranslator, WholeTranslation};
use crate::domain::byte_budget::BytePermit;
use crate::domain::ids::RequestId;
use crate::domain::usage::Judged;
use crate::meter::{Pushed, StreamMeter, StreamState, WholeAnswer};

/// How a chat answer is told to the client.
#[derive(Debug, Clone)]
pub struct Translation {
    context: Arc<Context>,
    id: String,
    model: String,
    think_tags: bool,
}

impl Translation {
    /// Of the answer to this request.
    pub fn new(request: RequestId, model: &str, context: &Arc<Context>, think_tags: bool) -> Self {
        let id = request.to_string();
        let id = id.split_once('_').map_or(id.as_str(), |(_, id)| id).to_owned();
        Self { context: Arc::clone(context), id, model: model.to_owned(), think_tags }
    }

    fn answering(&self) -> Answering<'_> {
        Answering { id: &self.id, model: &self.model, think_tags: self.think_tags }
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// It cannot be told in the client's dialect: why.
    pub fn whole(&self, answer: &[u8]) -> Result<WholeTranslation, Broken> {
        WholeTranslation::read(&self.context, &self.answering(), answer)
    }
}

/// A whole answer, for the client.
#[derive(Debug)]
pub struct ClientAnswer {
    answer: WholeAnswer,
    translation: Option<Box<WholeTranslation>>,
    _room: Option<BytePermit>,
}

/// How many times its bytes a whole answer takes while it is read to be translated, beside them.
pub const TIMES: usize = 2;

impl ClientAnswer {
    /// `translation`: of a server that was asked in chat. `room`: for what it takes.
    pub fn new(answer: WholeAnswer, translation: Option<WholeTranslation>, room: Option<BytePermit>) -> Self {
        Self { answer, translation: translation.map(Box::new), _room: room }
    }

    /// What the provider said of it.
    pub const fn judged(&self) -> Judged {
        self.answer.judged()
    }
}

impl CompleteAnswer for ClientAnswer {
    type Pieces = Vec<Bytes>;
    const IS_DELIVERED: bool = false;

    fn judged(&self) -> Judged {
        self.answer.judged()
    }

    fn count_output(&mut self) -> u64 {
        self.answer.estimate_completion()
    }

    fn output_counter(&mut self) -> Box<dyn FnOnce() -> u64 + Send> {
        let answer = self.answer.clone();
        Box::new(move || answer.estimate_completion())
    }

    fn with_receipt(self, receipt: &Receipt) -> Vec<Bytes> {
        let Some(translation) = self.translation else { return self.answer.with_receipt(receipt) };
        let usage = self.answer.usage_with(receipt);
        // The chat answer is needed no more.
        drop(self.answer);
        vec![translation.told(Some(&usage)).into()]
    }
}

/// A streamed answer as it passes, for the client.
#[derive(Debug)]
pub struct ClientStream {
    meter: StreamMeter,
    translator: Option<Box<StreamTranslator>>,
    speaks: Option<ClientDialect>,
}

impl ClientStream {
    /// A stream that nothing came of yet. `translation`: of a server that was asked in chat.
    pub fn new(meter: StreamMeter, translation: Option<&Translation>) -> Self {
        let translator = translation.map(|t| Box::new(StreamTranslator::new(&t.context, &t.answering())));
        let speaks = translation.map(|t| t.context.dialect());
        Self { meter, translator, speaks }
    }

    /// So many tokens were bought.
    pub const fn bound_output(&mut self, tokens: u64) {
        self.meter.bound_output(tokens);
    }

    /// Looks at the next bytes from the provider, and translates what may pass.
    pub fn push(&mut self, bytes: Bytes) -> Pushed {
        let mut pushed = self.meter.push(bytes);
        let Some(translator) = &mut self.translator else { return pushed };
        let mut out = Vec::with_capacity(pushed.forward.len());
        match translator.push(&pushed.forward, &mut out) {
            Ok(()) => pushed.state = checked(pushed.state, translator, &self.meter),
            Err(e) if e.is_too_long => {
                let failure = StreamFailure::TooMuchToKeep;
                translator.fail("server_error", &failure.to_string(), &mut out);
                pushed.state = StreamState::Failed(failure);
            }
            Err(e) => pushed.state = StreamState::Failed(StreamFailure::Malformed(e.to_string())),
        }
        pushed.forward = out.into();
        pushed
    }

    /// The provider closed the body cleanly.
    pub fn end_of_input(&mut self) -> StreamState {
        let state = self.meter.end_of_input();
        match &self.translator {
            Some(translator) => checked(state, translator, &self.meter),
            None => state,
        }
    }

    /// What the provider said so far.
    pub fn judged(&self) -> Judged {
        self.meter.judged()
    }

    /// What is held back for the receipt, or kept to be said again at the end, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.meter.held_bytes() + self.translator.as_ref().map_or(0, |translator| translator.kept())
    }

    /// What the end says again has no more room: it ends here.
    pub fn keep_no_more(&mut self) -> (Bytes, StreamState) {
        let (mut out, failure) = (Vec::new(), StreamFailure::TooMuchToKeep);
        if let Some(translator) = &mut self.translator {
            translator.fail("server_error", &failure.to_string(), &mut out);
        }
        (out.into(), StreamState::Failed(failure))
    }

    /// Gives up what is held back: there is no room for it.
    pub fn release_held(&mut self) -> Bytes {
        let released = self.meter.release_held();
        let Some(translator) = &mut self.translator else { return released };
        let mut out = Vec::new();
        // What cannot be told now breaks the stream off with what follows it.
        let _ = translator.push(&released, &mut out);
        out.into()
    }

    /// The provider said its last word, but not what it used.
    pub const fn is_done(&self) -> bool {
        self.meter.is_done()
    }

    /// Something of it was output.
    pub const fn output_started(&self) -> bool {
        self.meter.output_started()
    }

    /// The end of a stream that broke off, where the dialect has more to say than an error.
    pub fn broken(&mut self, code: &str, message: &str) -> Option<Bytes> {
        let Some(translator) = &mut self.translator else { return self.meter.broken(code, message) };
        if self.speaks != Some(ClientDialect::Responses) {
            return None;
        }
        let mut out = Vec::new();
        translator.fail(code, message, &mut out);
        Some(out.into())
    }

    fn last_bytes(self, receipt: &Receipt) -> Bytes {
        let was_cut = self.meter.was_cut_in_event();
        let last = self.meter.last_bytes(receipt);
        let Some(mut translator) = self.translator else { return last };
        if was_cut {
            translator.forget_partial();
        }
        let mut out = Vec::with_capacity(last.len());
        match translator.push(&last, &mut out) {
            Ok(()) => translator.end(&mut out),
            Err(e) => translator.fail("server_error", &e.to_string(), &mut out),
        }
        out.into()
    }
}

/// A stream that ended, unless its end, which is held back until it is paid for, cannot be told.
fn checked(state: StreamState, translator: &StreamTranslator, meter: &StreamMeter) -> StreamState {
    if state != StreamState::Ended {
        return state;
    }
    let failed = |e: Broken| StreamState::Failed(StreamFailure::Malformed(e.to_string()));
    translator.check(meter.held()).map_or_else(failed, |()| state)
}

impl CompleteAnswer for Box<ClientStream> {
    type Pieces = [Bytes; 1];
    const IS_DELIVERED: bool = true;

    fn judged(&self) -> Judged {
        self.meter.judged()
    }

    fn count_output(&mut self) -> u64 {
        self.meter.estimate_completion()
    }

    fn output_counter(&mut self) -> Box<dyn FnOnce() -> u64 + Send> {
        let mut output = self.meter.take_output();
        Box::new(move || output.count())
    }

    fn with_receipt(self, receipt: &Receipt) -> [Bytes; 1] {
        [self.last_bytes(receipt)]
    }
}
