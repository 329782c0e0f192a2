//! The books: what is limited, put aside and spent at each place, and the rules by which something is
//! put aside, settled and given back. Every sum is exact: what an account has put aside is what its
//! attempts and the slices below it hold, what it has spent is what they settled.
//!
//! A path leads from a task outwards, a list of accounts for each session: its own and those of the
//! groups around it, the session's last. The session's account of a child session is a *slice*: it has
//! drawn a credit from the accounts around the task that it is, and what fits into the credit touches
//! nothing above.

use super::{Amounts, Caps};

/// What one place may take and has taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    pub limits: Caps,
    /// Put aside for attempts that have not ended, and as credit of slices.
    pub reserved: Amounts,
    pub spent: Amounts,
    /// Of a child session.
    pub slice: Option<Slice>,
}

/// What a child session has drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slice {
    /// Put aside above for it, what it spent since it told that included.
    pub credit: Amounts,
    /// What it has spent and told.
    pub told: Amounts,
}

/// What an attempt wants to put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    pub most: Amounts,
    /// It takes that much or waits; otherwise it takes less where no more will be left.
    pub strict: [bool; 3],
}

/// Which account of a path, and what of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// The session on the path, from the task outwards.
    pub level: usize,
    /// The account in it.
    pub at: usize,
    /// The dimension.
    pub of: usize,
}

/// What comes of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Granted(Amounts),
    /// Others have to give something back first.
    Waits(Spot),
    /// It never fits, unless the budget is raised.
    Exceeded(Spot),
    /// The slice has too little left, and what is above was not given.
    AskAbove,
}

/// The accounts of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Books {
    pub levels: Vec<Vec<Account>>,
}

/// A slice draws so many times what it needs, as long as that is little of what is left.
const AHEAD: i64 = 3;
const LITTLE: i64 = 8;

impl Account {
    /// What is left when everything that is put aside is spent.
    pub fn free(&self, of: usize) -> Option<i64> {
        self.limits[of].map(|limit| limit - self.spent[of] - self.reserved[of])
    }

    /// What is left when nothing of that is spent.
    pub fn left(&self, of: usize) -> Option<i64> {
        self.limits[of].map(|limit| limit - self.spent[of])
    }

    /// What a slice could put aside without drawing more.
    pub fn idle(&self, of: usize) -> i64 {
        self.slice.map_or(0, |slice| {
            slice.credit[of] - (self.spent[of] - slice.told[of]) - self.reserved[of]
        })
    }

    /// An attempt has ended, or a slice below has told something.
    pub fn settle(&mut self, reserved: &Amounts, spent: &Amounts) {
        for of in 0..3 {
            self.reserved[of] -= reserved[of];
            self.spent[of] += spent[of];
        }
    }
}

/// How much of one dimension there is at a place of the path.
#[derive(Debug, Clone, Copy)]
struct Room {
    amount: i64,
    level: usize,
    at: usize,
}

impl Books {
    /// Puts something aside at every account of the path, or changes nothing.
    pub fn reserve(&mut self, need: &Need) -> Answer {
        let mut amounts = need.most;
        let mut waits = None;
        for (of, most) in need.most.into_iter().enumerate() {
            let (Some(free), Some(left)) = (self.room(of, false), self.room(of, true)) else {
                continue;
            };
            if free.amount >= most {
                continue;
            }
            if self.is_cut_off() {
                return Answer::AskAbove;
            }
            let spot = |room: Room| Spot { level: room.level, at: room.at, of };
            let is_strict = need.strict[of];
            if !is_strict && free.amount > 0 && free.amount == left.amount {
                amounts[of] = free.amount;
            } else if left.amount > 0 && (!is_strict || left.amount >= most) {
                waits.get_or_insert_with(|| spot(free));
            } else {
                return Answer::Exceeded(spot(left));
            }
        }
        if let Some(spot) = waits {
            return Answer::Waits(spot);
        }
        self.put_aside(0, &amounts, &[0; 3]);
        Answer::Granted(amounts)
    }

    /// What is above the outermost session was not given.
    fn is_cut_off(&self) -> bool {
        self.levels.last().and_then(|level| level.last()).is_some_and(|it| it.slice.is_some())
    }

    /// The least that any account of the path has room for, counting what is put aside as spent, or
    /// not. `None` where nothing limits it.
    fn room(&self, of: usize, as_if_all_came_back: bool) -> Option<Room> {
        let mut least: Option<Room> = None;
        // What slices on the way have put aside out there already, or have spent and not told.
        let mut credit = 0;
        for (level, accounts) in self.levels.iter().enumerate() {
            for (at, account) in accounts.iter().enumerate() {
                let own = if as_if_all_came_back {
                    account.left(of)
                } else if level == 0 {
                    account.free(of)
                } else {
                    account.free(of).map(|free| free.max(0))
                };
                let Some(own) = own else { continue };
                if least.is_none_or(|least| own + credit < least.amount) {
                    least = Some(Room { amount: own + credit, level, at });
                }
            }
            let Some((session, slice)) = accounts.last().and_then(|it| Some((it, it.slice?)))
            else {
                break;
            };
            credit += if as_if_all_came_back {
                slice.told[of] - session.spent[of]
            } else {
                session.idle(of)
            };
        }
        // Where it is not known what is above, there is the credit and nothing else.
        if self.is_cut_off() && least.is_none_or(|least| credit < least.amount) {
            let level = self.levels.len() - 1;
            least = Some(Room { amount: credit, level, at: self.levels[level].len() - 1 });
        }
        least
    }

    /// Puts an amount aside from a level outwards, drawing what slices lack and something more.
    fn put_aside(&mut self, level: usize, amounts: &Amounts, more: &Amounts) {
        let wanted: Amounts = std::array::from_fn(|of| amounts[of] + more[of]);
        let Some(accounts) = self.levels.get(level) else { return };
        let Some(session) = accounts.last().copied() else { return };
        let lacks = |of: usize| (wanted[of] - session.idle(of)).max(0);
        let missing =
            if session.slice.is_some() { std::array::from_fn(lacks) } else { Amounts::default() };
        for account in &mut self.levels[level] {
            for (reserved, wanted) in account.reserved.iter_mut().zip(wanted) {
                *reserved += wanted;
            }
        }
        if missing == [0; 3] {
            return;
        }
        let ahead = if *more == [0; 3] { self.ahead(level + 1, amounts, &missing) } else { [0; 3] };
        self.put_aside(level + 1, &missing, &ahead);
        if let Some(slice) =
            self.levels[level].last_mut().and_then(|session| session.slice.as_mut())
        {
            for of in 0..3 {
                slice.credit[of] += missing[of] + ahead[of];
            }
        }
    }

    /// What a slice draws ahead: little of what is left above.
    fn ahead(&self, level: usize, amounts: &Amounts, missing: &Amounts) -> Amounts {
        let above = Self { levels: self.levels.get(level..).unwrap_or_default().to_vec() };
        let mut ahead = [0; 3];
        for of in 0..3 {
            if missing[of] > 0 {
                let room = above.room(of, false).map_or(i64::MAX, |room| room.amount);
                ahead[of] = (amounts[of] * AHEAD).min((room - missing[of]).max(0) / LITTLE);
            }
        }
        ahead
    }

    /// A slice, the first session of the path, tells what it has spent, and gives back what it does
    /// not need but for what it may keep. True where that changed anything above.
    pub fn tell(&mut self, keeps_idle: bool) -> bool {
        let Some(session) = self.levels.first().and_then(|level| level.last()).copied() else {
            return false;
        };
        let Some(slice) = session.slice else { return false };
        let mut credit = session.reserved;
        let (mut freed, mut untold) = ([0; 3], [0; 3]);
        for of in 0..3 {
            untold[of] = session.spent[of] - slice.told[of];
            if keeps_idle {
                credit[of] += session.idle(of).max(0);
            }
            freed[of] = slice.credit[of] - credit[of];
        }
        if freed == [0; 3] && untold == [0; 3] {
            return false;
        }
        for account in self.levels.get_mut(1).into_iter().flatten() {
            account.settle(&freed, &untold);
        }
        if let Some(session) = self.levels[0].last_mut() {
            session.slice = Some(Slice { credit, told: session.spent });
        }
        true
    }
}
