//! Jobs over real database servers: what is dumped, what must never look like a dump, and the way back.

#[cfg(test)]
mod house;
#[cfg(test)]
mod mysql;
