//! What goes wrong around a dump of PostgreSQL.
