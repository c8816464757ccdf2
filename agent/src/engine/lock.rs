//! One run at a time, under a lock that tells who holds it, since when and why.
