//! Writers of a map, who die in the middle of a transaction.

use coframe::{Error, SharedMap, Store};

use super::{Context, Role};
use crate::{Result, ensure, random::Random};

pub(crate) const MAP: &str = "map";
pub(crate) const CHURN: &str = "churn";
/// The key whose value each transaction raises by one.
pub(crate) const SEQUENCE: u32 = 1000;
const ACCOUNTS: u32 = 40;
const EACH: u64 = 1000;

pub(crate) type Map = SharedMap<u32, u64>;

pub(super) struct Maps {
    map: Map,
    seen: u64,
}

/// Creates the map with its accounts.
pub(crate) fn create(store: &Store) -> Result<Map> {
    let map = Map::create(store, MAP)?;
    map.transaction(|t| {
        t.put(&SEQUENCE, &0)?;
        (0..ACCOUNTS).try_for_each(|account| t.put(&account, &EACH))
    })?;
    Ok(map)
}

impl Maps {
    pub(super) fn open(store: &Store) -> Result<Self> {
        Ok(Self { map: Map::open(store, MAP)?, seen: 0 })
    }
}

impl Role for Maps {
    fn step(&mut self, context: &mut Context) -> Result<()> {
        match context.random.below(8) {
            0..5 => {
                let value = transfer(&self.map, &mut context.random)?;
                context.ledger.number(MAP, value)
            }
            5..7 => {
                let value = sequence(&self.map)?;
                ensure!(value >= self.seen, "the map went from {} back to {value}", self.seen);
                self.seen = value;
                Ok(())
            }
            _ => churn(&context.store),
        }
    }
}

/// Moves an amount between two accounts, in one transaction; returns its number.
pub(crate) fn transfer(map: &Map, random: &mut Random) -> Result<u64> {
    let (from, to) = (random.below(ACCOUNTS.into()) as u32, random.below(ACCOUNTS.into()) as u32);
    let pause = random.one_in(8).then(|| std::time::Duration::from_micros(random.below(300)));
    Ok(map.transaction(|t| {
        let amount = t.get(&from)?.unwrap_or(0) / 2;
        t.put(&from, &(t.get(&from)?.unwrap_or(0) - amount))?;
        if let Some(pause) = pause {
            std::thread::sleep(pause);
        }
        t.put(&to, &(t.get(&to)?.unwrap_or(0) + amount))?;
        let number = t.get(&SEQUENCE)?.unwrap_or(0) + 1;
        t.put(&SEQUENCE, &number)?;
        Ok::<_, Error>(number)
    })?)
}

/// Checks one state of the map; returns the number of its last transaction.
pub(crate) fn sequence(map: &Map) -> Result<u64> {
    let state = map.snapshot()?;
    let mut sum = 0;
    for entry in state.range(0..ACCOUNTS)? {
        sum += entry?.1;
    }
    ensure!(sum == u64::from(ACCOUNTS) * EACH, "a torn map: the accounts have {sum}");
    state.get(&SEQUENCE)?.ok_or_else(|| "the map lost its sequence".into())
}

/// A map that processes create, use and remove all the time.
fn churn(store: &Store) -> Result<()> {
    let map = match Map::open_or_create(store, CHURN) {
        // Another process removed it at once.
        Err(error) if error.is_not_found() || error.is_superseded() => return Ok(()),
        map => map?,
    };
    map.put(&1, &1)?;
    store.remove_map(CHURN)?;
    Ok(())
}
