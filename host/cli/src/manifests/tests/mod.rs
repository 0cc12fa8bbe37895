//! Reading from files, as the command line does.
