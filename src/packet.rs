//! One packet on its way: the mbuf, what was parsed of it, and the rewrites to apply once at the end.
