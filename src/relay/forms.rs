//! A request in the words of those who may be asked: as it came, or as chat for servers that speak nothing else.
//!
//! What bounds a request's cost is what is sent. A chat request is another one than the client's: a tool of 28 bytes
//! can be 190 there. So it is made before anything is held, and where both may be sent, the larger is held. It is
//! bounded while it is made, and counts towards what the bodies in flight may take.

use std::sync::Arc;

use bytes::Bytes;

use super::{Caller, Refusal, Relay};
use crate::dialect::request::hosted::Allow;
use crate::dialect::request::{BadRequest, InferenceRequest};
use crate::dialect::translate::{self, ChatRequest, ClientDialect, Context, Untranslated};
use crate::domain::byte_budget::{BytePermit, OverBudget};
use crate::domain::endpoint::Endpoint;
use crate::store::Offered;
use crate::store::providers::Offer;

/// A request as chat, for servers that know nothing else, and what its answer must know.
#[derive(Debug)]
pub struct AsChat {
    /// The body; it counts towards the bodies in flight as long as it is kept.
    pub body: Bytes,
    /// For the answer.
    pub context: Arc<Context>,
}

/// A request in the words of those who may be asked.
#[derive(Debug)]
pub struct Forms<'a> {
    /// As it came.
    pub own: &'a InferenceRequest<'a>,
    chat: Option<Box<Result<InChat<'a>, BadRequest>>>,
}

/// A request that was made of the client's, read as any other: what a client may not ask in chat, it may not ask so.
#[derive(Debug)]
pub struct InChat<'a> {
    /// What was made.
    pub made: &'a AsChat,
    /// What is read of it.
    pub request: InferenceRequest<'a>,
}

impl<'a> Forms<'a> {
    /// The client's own, and what was made of it.
    pub fn of(own: &'a InferenceRequest<'a>, made: Option<&'a Result<AsChat, BadRequest>>) -> Self {
        let chat = made.map(|made| {
            let made = made.as_ref().map_err(Clone::clone)?;
            InferenceRequest::read(Endpoint::ChatCompletions, &made.body).map(|request| InChat { made, request })
        });
        Self { own, chat: chat.map(Box::new) }
    }

    /// As chat, where a server may be asked so.
    pub fn chat(&self) -> Option<&InChat<'a>> {
        self.chat.as_deref().and_then(|chat| chat.as_ref().ok())
    }

    /// Why it cannot be asked of the chat of a server with this `allow`.
    pub fn not_for_chat(&self, allow: &Allow) -> Option<BadRequest> {
        match self.chat.as_deref() {
            Some(Ok(chat)) => chat.request.lacking(allow),
            Some(Err(why)) => Some(why.clone()),
            // Something is made where there is such an offer.
            None => Some(BadRequest { param: None, message: "no server of this model understands this".into() }),
        }
    }

    /// The offers of those who can be asked, in whichever words: they may do what the request cannot be answered
    /// without.
    ///
    /// # Errors
    /// Nobody can; why.
    pub fn able(&self, offered: Arc<Offered>) -> Result<Arc<Offered>, BadRequest> {
        let lacks = |offer: &Arc<Offer>| self.lacks(offer);
        let Some(why) = offered.offers.iter().find_map(lacks) else { return Ok(offered) };
        let offers: Vec<_> = offered.offers.iter().filter(|offer| lacks(offer).is_none()).map(Arc::clone).collect();
        if offers.is_empty() { Err(why) } else { Ok(Arc::new(Offered { price: offered.price.clone(), offers })) }
    }

    fn lacks(&self, offer: &Offer) -> Option<BadRequest> {
        let allow = &offer.provider.allow;
        if offer.refuses { self.not_for_chat(allow) } else { self.own.lacking(allow) }
    }

    /// The forms in which it may be sent to those who offer it, each with what of them may be asked so.
    pub fn sent(&self, offered: &Offered) -> [Option<&InferenceRequest<'a>>; 2] {
        let offers = || offered.offers.iter();
        let own = offers().any(|offer| !offer.refuses).then_some(self.own);
        let chat = self.chat().filter(|_| offers().any(|offer| offer.chat.is_some())).map(|chat| &chat.request);
        [own, chat]
    }
}

/// A longer body is translated on the blocking pool, when it is its account's turn.
const LONG: usize = 128 << 10;
/// What is allowed for beside a part of the client's body.
const BESIDE: usize = 64 << 10;
/// What most chat requests are at most, in parts of four of the client's body.
const USUAL: usize = 5;

impl Relay {
    /// The request as chat, where one of those who offer it may be asked so; or why it cannot be.
    ///
    /// # Errors
    /// What it takes meanwhile has no room among the bodies in flight.
    pub(super) async fn as_chat(
        &self,
        caller: &Caller,
        request: &InferenceRequest<'_>,
        body: &Bytes,
        offered: &Offered,
    ) -> Result<Option<Box<Result<AsChat, BadRequest>>>, Refusal> {
        let Some(dialect) = request.endpoint.translation() else { return Ok(None) };
        if offered.offers.iter().all(|offer| offer.chat.is_none()) {
            return Ok(None);
        }
        let room = self.room_to_translate(caller)?;
        let longest = self.longest_body;
        let made = if body.len() < LONG {
            AsChat::of(dialect, body, longest, room)
        } else {
            let body = body.clone();
            let made = self.counting.in_turn(caller.account, move || AsChat::of(dialect, &body, longest, room));
            Box::pin(made).await.unwrap_or(Err(Failed::NoRoom))
        };
        match made {
            Ok(made) => Ok(Some(Box::new(Ok(made)))),
            Err(Failed::Bad(e)) => Ok(Some(Box::new(Err(e)))),
            Err(Failed::NoRoom) => Err(Refusal::NoRoomToTranslate),
        }
    }
}

/// Why there is no chat request.
#[derive(Debug)]
enum Failed {
    Bad(BadRequest),
    NoRoom,
}

impl From<OverBudget> for Failed {
    fn from(_: OverBudget) -> Self {
        Self::NoRoom
    }
}

impl AsChat {
    /// Translates a body into one of at most `longest` bytes. Room is asked for before it is made: for as much as most
    /// take, and for more where that does not do.
    fn of(dialect: ClientDialect, body: &[u8], longest: usize, mut room: BytePermit) -> Result<Self, Failed> {
        for quarters in [USUAL, 4 * translate::LARGEST_GROWTH] {
            let most = (body.len() / 4).saturating_mul(quarters).saturating_add(BESIDE).min(longest);
            // While it is made, it is there twice: in pieces, and written.
            let takes = 2 * most;
            if takes.saturating_add(body.len()) > room.most() {
                break;
            }
            room.grow(takes.saturating_sub(room.bytes()))?;
            match translate::request(dialect, body, most) {
                Ok(ChatRequest { body, context }) => {
                    room.shrink_to(body.len() + context.size());
                    return Ok(Self { body: room.tie_to(body.into()), context });
                }
                Err(Untranslated::Bad(e)) => return Err(Failed::Bad(e)),
                Err(Untranslated::TooLong) => {}
            }
        }
        Err(Failed::Bad(BadRequest { param: None, message: Untranslated::TooLong.to_string() }))
    }
}
