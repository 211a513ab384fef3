//! Jobs over real database servers: what is dumped, what must never look like a dump, and the way back.

#[cfg(test)]
mod basebackup;
#[cfg(test)]
mod external;
#[cfg(test)]
mod external_page;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod house;
#[cfg(test)]
mod mongo;
#[cfg(test)]
mod mongo_faults;
#[cfg(test)]
mod mysql;
#[cfg(test)]
mod physical;
#[cfg(test)]
mod physical_chain;
#[cfg(test)]
mod physical_chain_faults;
#[cfg(test)]
mod physical_faults;
#[cfg(test)]
mod physical_way_back;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod postgres_faults;
#[cfg(test)]
mod redis;
#[cfg(test)]
mod replica;
#[cfg(test)]
mod way_back;
