//! The words, the rules and the storage of Jobshop.
