//! The model: balances in a map, and what each operation does to them, in its own words.

use std::collections::BTreeMap;

/// (total, withdrawable) of every account, what it owes and what its fee carries, what each key was charged, the charges,
/// the withdrawals, and the answers given under keys. Account 1 is the house.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    pub money: BTreeMap<i64, (i64, i64)>,
    pub debts: BTreeMap<i64, i64>,
    pub carries: BTreeMap<i64, i64>,
    pub spent: BTreeMap<i64, i64>,
    pub charges: Vec<Charge>,
    pub withdrawals: Vec<Asked>,
    pub answered: BTreeMap<u64, (i64, i64)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub payer: i64,
    pub provider: i64,
    pub charged: i64,
    pub from_earned: i64,
    pub earned: i64,
    pub refunded: bool,
}

/// A withdrawal; decided, there is nothing left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub account: i64,
    pub left: i64,
}

impl Model {
    pub fn give(&mut self, account: i64, total: i64, withdrawable: i64) {
        let m = self.money.entry(account).or_insert((0, 0));
        *m = (m.0 + total, m.1 + withdrawable);
    }

    /// Credit goes before earnings. Returns what of it was earned.
    pub fn spend(&mut self, account: i64, amount: i64) -> i64 {
        let (total, earned) = self.money[&account];
        let left = (total - amount, earned.min(total - amount));
        self.money.insert(account, left);
        earned - left.1
    }

    pub fn credit(&mut self, account: i64, amount: i64) -> bool {
        let Some(total) = self.money[&account].0.checked_add(amount).filter(|_| amount > 0) else { return false };
        self.money.entry(account).and_modify(|m| m.0 = total);
        true
    }

    /// A key answers once: the same request again changes nothing, another one is refused.
    pub fn credit_once(&mut self, key: u64, account: i64, amount: i64) -> bool {
        match self.answered.get(&key) {
            Some(before) => *before == (account, amount),
            None => {
                let done = self.credit(account, amount);
                if done {
                    self.answered.insert(key, (account, amount));
                }
                done
            }
        }
    }

    pub fn debit(&mut self, account: i64, amount: i64, held: i64) -> bool {
        let done = amount > 0 && amount <= self.money[&account].0 - held;
        if done {
            self.spend(account, amount);
        }
        done
    }

    /// Who owes something pays it to the house, out of what it has just earned.
    pub fn pay_off(&mut self, account: i64, earned: i64) {
        let debt = self.debts.get(&account).copied().unwrap_or(0);
        let paid = debt.min(earned).min(self.money[&account].1);
        if paid > 0 {
            self.debts.insert(account, debt - paid);
            self.give(account, -paid, -paid);
            self.give(1, paid, paid);
        }
    }

    /// Returns what the payer has then.
    pub fn settle(&mut self, s: &Bill) -> i64 {
        // 100,000 and 780,000 micro-dollars a million tokens, rounded up once.
        let cost = if s.failed || (s.own_use_free && s.payer == s.provider) {
            0
        } else {
            (s.prompt * 100_000 + s.output * 780_000 + 999_999) / 1_000_000
        };
        let charged = cost.min((self.money[&s.payer].0 - s.held).max(0));
        let (mut earned, mut from_earned) = (charged, 0);
        if charged > 0 {
            let carry = self.carries.entry(s.provider).or_insert(0);
            let fee = (charged * s.fee_bps + *carry) / 10_000;
            *carry = (charged * s.fee_bps + *carry) % 10_000;
            earned = charged - fee;
            from_earned = self.spend(s.payer, charged);
            // What the payer pays to itself comes back, but it earned nothing.
            self.give(s.provider, earned, if s.payer == s.provider { 0 } else { earned });
            if fee > 0 {
                self.give(1, fee, fee);
            }
            if s.payer != s.provider {
                self.pay_off(s.provider, earned);
            }
        }
        if s.is_limited() {
            *self.spent.entry(s.key).or_insert(0) += charged;
        }
        let (payer, provider) = (s.payer, s.provider);
        self.charges.push(Charge { payer, provider, charged, from_earned, earned, refunded: false });
        self.money[&payer].0
    }

    pub fn withdraw(&mut self, account: i64, amount: i64) -> bool {
        let most = self.money[&account].1 - self.debts.get(&account).copied().unwrap_or(0);
        let done = amount > 0 && amount <= most;
        if done {
            self.give(account, -amount, -amount);
            self.withdrawals.push(Asked { account, left: amount });
        }
        done
    }

    pub fn decide(&mut self, which: usize, paid: bool) -> bool {
        let Some(asked) = self.withdrawals.get_mut(which).filter(|asked| asked.left > 0) else { return false };
        let (account, amount) = (asked.account, std::mem::take(&mut asked.left));
        if !paid {
            self.give(account, amount, amount);
            self.pay_off(account, amount);
        }
        true
    }

    /// The payer has it back at once. The provider gives what is withdrawable, then what it asked for last, and
    /// owes the rest; the house gives what the provider did not.
    pub fn refund(&mut self, which: usize, held: i64) -> bool {
        let Some(charge) = self.charges.get_mut(which).filter(|c| c.charged > 0 && !c.refunded) else { return false };
        charge.refunded = true;
        let Charge { payer, provider, charged, from_earned, earned, .. } = *charge;
        self.give(payer, charged, from_earned);
        let (total, withdrawable) = self.money[&provider];
        let free = earned.min(if payer == provider { total } else { withdrawable }).min((total - held).max(0));
        let mut owed = earned - free;
        for asked in self.withdrawals.iter_mut().rev().filter(|asked| asked.account == provider) {
            let part = owed.min(asked.left);
            (asked.left, owed) = (asked.left - part, owed - part);
        }
        if payer == provider {
            // Its pending part came back and went again; the rest is its own money.
            let back = earned - owed - free;
            self.give(provider, back, back);
            self.spend(provider, earned - owed);
        } else {
            self.give(provider, -free, -free);
        }
        *self.debts.entry(provider).or_insert(0) += owed;
        let rest = charged - (earned - owed);
        if rest > 0 {
            self.give(1, 0, 0);
            let missing = (rest - (self.money[&1].0 - held).max(0)).max(0);
            self.give(1, missing, 0);
            self.spend(1, rest);
        }
        if payer != provider {
            self.pay_off(payer, from_earned);
        }
        true
    }
}

#[derive(Debug, Clone)]
pub struct Bill {
    pub payer: i64,
    pub provider: i64,
    pub key: i64,
    pub prompt: i64,
    pub output: i64,
    pub held: i64,
    pub fee_bps: i64,
    pub failed: bool,
    pub own_use_free: bool,
}

impl Bill {
    /// Every other key has a spend limit.
    pub fn is_limited(&self) -> bool {
        self.key % 2 == 0
    }
}
