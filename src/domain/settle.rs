//! Settlement arithmetic: who pays, who earns, what nobody could pay. Pure; the store applies it.

use super::ids::AccountId;
use super::money::MicroUsd;

/// The money of one account. `withdrawable` is the part of `total` earned as a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// All the money of the account. Never negative.
    pub total: MicroUsd,
    /// The earned part. Between zero and `total`.
    pub withdrawable: MicroUsd,
}

impl Balance {
    /// The balance after `amount` was spent: credit that is not withdrawable goes first. `None` if
    /// the balance does not cover it.
    pub fn spend(self, amount: MicroUsd) -> Option<Spent> {
        let total = self.total.checked_sub(amount).filter(|left| !left.is_negative())?;
        let withdrawable = self.withdrawable.min(total);
        let from_earned = self.withdrawable.checked_sub(withdrawable)?;
        Some(Spent { left: Self { total, withdrawable }, from_earned })
    }

    /// The balance with `amount` of credit that cannot be withdrawn added. `None` on overflow.
    pub fn add_credit(self, amount: MicroUsd) -> Option<Self> {
        Some(Self { total: self.total.checked_add(amount)?, ..self })
    }

    /// The balance with `amount` of withdrawable earnings added. `None` on overflow.
    pub fn add_earnings(self, amount: MicroUsd) -> Option<Self> {
        Some(Self { total: self.total.checked_add(amount)?, withdrawable: self.withdrawable.checked_add(amount)? })
    }
}

/// What spending left, and how much of it was withdrawable money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// The balance afterwards.
    pub left: Balance,
    /// The part of the amount that came out of the withdrawable money.
    pub from_earned: MicroUsd,
}

/// A fee in basis points (1/100 of a percent) of each charge; 0 by default, 10,000 at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeeBps(u16);

impl FeeBps {
    /// A fee of `bps` basis points, or `None` above 10,000.
    pub const fn new(bps: u16) -> Option<Self> {
        if bps <= 10_000 { Some(Self(bps)) } else { None }
    }

    /// No fee at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The fee on `charged` and on what was carried, in whole micro-USD, and what is carried on: rounded down, so
    /// the provider never gets less than its share, and the sum over many charges is exact. At most `charged`:
    /// what is carried is less than a micro-USD.
    fn of(self, charged: MicroUsd, carried: FeeCarry) -> (MicroUsd, FeeCarry) {
        let parts = i128::from(charged.micro()) * i128::from(self.0) + i128::from(carried.0);
        let fee = i64::try_from(parts / 10_000).unwrap_or(i64::MAX);
        (MicroUsd::new(fee), FeeCarry(u16::try_from(parts % 10_000).unwrap_or_default()))
    }
}

/// What the operator keeps of charges, and what it lets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// Of each charge.
    pub fee: FeeBps,
    /// What an account's own provider serves it costs nothing.
    pub own_use_free: bool,
}

impl Terms {
    /// A request of `payer` that a provider of `owner` has answered is free. Who owns it is told by accounts alone: names,
    /// keys and connections change hands.
    pub fn is_free(self, payer: AccountId, owner: AccountId) -> bool {
        self.own_use_free && payer == owner
    }
}

/// What the fee on a provider account's earnings has not reached yet of the next micro-USD: ten-thousandths of
/// one, 9,999 at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeeCarry(u16);

impl FeeCarry {
    /// Ten-thousandths of a micro-USD, or `None` from a whole one on.
    pub const fn new(parts: u16) -> Option<Self> {
        if parts < 10_000 { Some(Self(parts)) } else { None }
    }

    /// Ten-thousandths of a micro-USD.
    pub const fn parts(self) -> u16 {
        self.0
    }
}

/// The split of one charge. `cost = charged + shortfall`; `charged = earned + fee`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// What the payer pays.
    pub charged: MicroUsd,
    /// What the request cost beyond what the payer could pay. Nobody owes it.
    pub shortfall: MicroUsd,
    /// What goes to the operator's account.
    pub fee: MicroUsd,
    /// What goes to the provider's account.
    pub earned: MicroUsd,
    /// What is carried to the fee on the provider account's next earning.
    pub carry: FeeCarry,
}

impl Split {
    /// Splits `cost` for a payer with `balance`, of which other requests hold `held_by_others`.
    ///
    /// `charged = min(cost, balance − held_by_others)`, never below zero: a request never spends what
    /// another one was promised. `carried` is what the provider account's fee was carried from before.
    pub fn of(cost: MicroUsd, balance: MicroUsd, held_by_others: MicroUsd, fee: FeeBps, carried: FeeCarry) -> Self {
        let charged = cost.min(balance.minus_floor_zero(held_by_others));
        let (fee, carry) = fee.of(charged, carried);
        Self { charged, shortfall: cost.minus_floor_zero(charged), fee, earned: charged.minus_floor_zero(fee), carry }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn m(micro: i64) -> MicroUsd {
        MicroUsd::new(micro)
    }

    #[test]
    fn a_charge_is_split_exactly() {
        // cost, balance, held by others, fee bps, carried → charged, shortfall, fee, earned, carried on
        let rows = [
            (188, 5_000_000, 0, 0, 0, 188, 0, 0, 188, 0),
            (188, 188, 0, 0, 0, 188, 0, 0, 188, 0),
            (188, 100, 0, 0, 0, 100, 88, 0, 100, 0),
            (188, 0, 0, 0, 0, 0, 188, 0, 0, 0),
            (188, 300, 200, 0, 0, 100, 88, 0, 100, 0),
            (188, 300, 400, 0, 0, 0, 188, 0, 0, 0),
            (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
            (0, 0, 0, 250, 9_999, 0, 0, 0, 0, 9_999),
            (1_000, 1_000, 0, 250, 0, 1_000, 0, 25, 975, 0),
            (39, 1_000, 0, 250, 0, 39, 0, 0, 39, 9_750), // 0.975 of a micro-USD
            (39, 1_000, 0, 250, 249, 39, 0, 0, 39, 9_999),
            (39, 1_000, 0, 250, 250, 39, 0, 1, 38, 0),
            (1_000, 1_000, 0, 10_000, 9_999, 1_000, 0, 1_000, 0, 9_999),
            (i64::MAX, i64::MAX, 0, 10_000, 9_999, i64::MAX, 0, i64::MAX, 0, 9_999),
        ];
        for (cost, balance, held, bps, carried, charged, shortfall, fee, earned, carry) in rows {
            let (Some(bps), Some(carried)) = (FeeBps::new(bps), FeeCarry::new(carried)) else { panic!("{bps} bps") };
            let split = Split::of(m(cost), m(balance), m(held), bps, carried);
            let carry = FeeCarry::new(carry).unwrap_or_default();
            let expected =
                Split { charged: m(charged), shortfall: m(shortfall), fee: m(fee), earned: m(earned), carry };
            assert_eq!(split, expected, "{cost} of {balance}, {held} held");
        }
        assert_eq!((FeeBps::new(10_001), FeeCarry::new(10_000)), (None, None));
    }

    #[test]
    fn many_small_charges_pay_the_fee_that_one_large_one_pays() {
        for bps in [1, 250, 333, 9_999, 10_000] {
            let Some(fee) = FeeBps::new(bps) else { panic!("{bps} bps") };
            let (mut charged, mut paid, mut carry) = (0, 0, FeeCarry::default());
            for cost in (0..10_000).map(|n| n * 7 % 40) {
                let split = Split::of(m(cost), m(1_000), m(0), fee, carry);
                (charged, paid, carry) = (charged + cost, paid + split.fee.micro(), split.carry);
            }
            assert_eq!(paid * 10_000 + i64::from(carry.parts()), charged * i64::from(bps), "{bps} bps");
        }
    }

    #[test]
    fn only_an_accounts_own_provider_is_free_and_only_where_that_is_wanted() {
        let (one, other) = (AccountId::from_i64(7), AccountId::from_i64(8));
        for (own_use_free, payer, owner, free) in
            [(true, one, one, true), (true, one, other, false), (true, other, one, false), (false, one, one, false)]
        {
            let terms = Terms { own_use_free, ..Terms::default() };
            assert_eq!(terms.is_free(payer, owner), free, "{own_use_free} {payer} {owner}");
        }
    }

    #[test]
    fn credit_is_spent_before_earnings() {
        let balance = |total, withdrawable| Balance { total: m(total), withdrawable: m(withdrawable) };
        // total, withdrawable, spent → total, withdrawable, from earnings
        let rows = [
            (100, 30, 70, Some((30, 30, 0))),
            (100, 30, 71, Some((29, 29, 1))),
            (100, 30, 100, Some((0, 0, 30))),
            (100, 30, 101, None),
            (100, 0, 0, Some((100, 0, 0))),
        ];
        for (total, withdrawable, amount, after) in rows {
            let spent = balance(total, withdrawable).spend(m(amount));
            let expected = after.map(|(t, w, e)| Spent { left: balance(t, w), from_earned: m(e) });
            assert_eq!(spent, expected, "{amount} of {total}/{withdrawable}");
        }
        assert_eq!(balance(1, 1).add_credit(m(2)), Some(balance(3, 1)));
        assert_eq!(balance(1, 1).add_earnings(m(2)), Some(balance(3, 3)));
        assert_eq!(balance(i64::MAX, 0).add_credit(m(1)), None);
        assert_eq!(balance(i64::MAX, 0).add_earnings(m(1)), None);
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_made_or_lost(
            cost in 0..=i64::MAX, balance in 0..=i64::MAX, held in 0..=i64::MAX, bps in 0..=10_000u16,
            carried in 0..10_000u16,
        ) {
            let split = Split::of(m(cost), m(balance), m(held), FeeBps::new(bps).unwrap_or_default(),
                FeeCarry::new(carried).unwrap_or_default());
            proptest::prop_assert_eq!(split.charged.checked_add(split.shortfall), Some(m(cost)));
            proptest::prop_assert_eq!(split.earned.checked_add(split.fee), Some(split.charged));
            proptest::prop_assert!(split.charged <= m(balance) && !split.charged.is_negative());
            proptest::prop_assert!(!split.fee.is_negative() && !split.earned.is_negative());
        }
    }
}
