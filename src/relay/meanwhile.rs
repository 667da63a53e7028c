//! What may have changed while a request waited: the key that it came with, and who can serve it.

use std::sync::Arc;

use super::admit::Admission;
use super::forms::Forms;
use super::{Caller, Refusal, Relay};
use crate::domain::ids::ProviderId;
use crate::domain::time::Timestamp;
use crate::store::Offered;
use crate::store::providers::Offer;
use crate::upstream::{Server, Target};

impl Relay {
    /// Whoever waited has not been looked at for a while: a key that works no longer runs nothing.
    pub(super) fn may_run_still(&self, caller: &Caller) -> Result<(), Refusal> {
        let key = self.store.cached(|memory| memory.key(caller.key.id))?;
        match key.filter(|key| key.in_force(Timestamp::now()).is_ok()) {
            Some(key) if key.suspended => Err(Refusal::Suspended),
            Some(_) => Ok(()),
            None => Err(Refusal::KeyNotInForce),
        }
    }

    /// Who can serve a request that waits, as it is now. Its price, and what is held for it, stay as they were: so
    /// nobody new in whose words it may be longer than what is held.
    pub(super) fn offered_now(
        &self,
        caller: &Caller,
        forms: &Forms<'_>,
        admission: &Admission,
    ) -> Result<Arc<Offered>, Refusal> {
        let offered = forms.able(self.offered(caller, forms.own, false)?)?;
        let held = Held::of(forms, &admission.offered);
        if offered.offers.iter().all(|offer| held.covers(offer)) {
            return Ok(offered);
        }
        let offers = offered.offers.iter().filter(|offer| held.covers(offer)).map(Arc::clone).collect();
        Ok(Arc::new(Offered { price: offered.price.clone(), offers }))
    }
}

/// What a hold was made for.
struct Held<'a> {
    forms: &'a Forms<'a>,
    before: &'a Offered,
    own: bool,
    chat: bool,
    /// What a provider finds beside what is written, too.
    further: bool,
}

impl<'a> Held<'a> {
    fn of(forms: &'a Forms<'a>, before: &'a Offered) -> Self {
        let [own, chat] = forms.sent(before).map(|form| form.is_some());
        let further = before.offers.iter().any(|offer| reaches_further(forms, offer));
        Self { forms, before, own, chat, further }
    }

    fn covers(&self, offer: &Offer) -> bool {
        let knew = || self.before.offers.iter().any(|known| known.provider.id == offer.provider.id);
        let own = offer.refuses || self.own;
        let chat = offer.chat.is_none() || self.forms.chat().is_none() || self.chat;
        own && chat && (self.further || !reaches_further(self.forms, offer) || knew())
    }
}

fn reaches_further(forms: &Forms<'_>, offer: &Offer) -> bool {
    let allow = &offer.provider.allow;
    forms.own.reaches_further(allow) || forms.chat().is_some_and(|chat| chat.request.reaches_further(allow))
}

/// What a request that waits knows of those who offer it.
#[derive(Debug)]
pub struct Asked {
    /// They were asked in vain, and get it no more.
    in_vain: Vec<ProviderId>,
    /// They turned out to speak chat alone.
    in_chat: Vec<ProviderId>,
}

impl Asked {
    /// Of those who offer it, these are left to be asked.
    pub fn of(left: &[Target], offered: &Offered) -> Self {
        let is_left = |id: ProviderId| left.iter().any(|target| target.provider == id);
        let all = offered.offers.iter().map(|offer| offer.provider.id);
        let in_chat = left.iter().filter(|target| target.translated).map(|target| target.provider).collect();
        Self { in_vain: all.filter(|id| !is_left(*id)).collect(), in_chat }
    }

    /// The offers of those who can be asked.
    pub fn offers<'a>(&self, offered: &'a Offered) -> impl Iterator<Item = &'a Offer> {
        offered.offers.iter().map(Arc::as_ref).filter(|offer| !self.in_vain.contains(&offer.provider.id))
    }

    /// Where places can be waited for.
    pub fn open(&self, offered: &Offered) -> Vec<Server> {
        let server = |of: &Offer| Server { provider: of.provider.id, max_concurrent: of.provider.max_concurrent };
        self.offers(offered).map(server).collect()
    }

    /// Where an offer is sent, in the words that were found out.
    pub fn in_form(&self, target: Target, offer: &Offer) -> Target {
        match &offer.chat {
            Some(takes) if self.in_chat.contains(&target.provider) => target.in_chat(takes.clone()),
            _ => target,
        }
    }
}
