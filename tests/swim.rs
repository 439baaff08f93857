//! SWIM: its promises hold, each falls when something is taken away, and its values are bounded.
