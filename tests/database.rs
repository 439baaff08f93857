//! The database: its promises hold, and each falls when something is taken away.
