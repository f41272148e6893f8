//! Constrained policy optimisation (Achiam et al. 2017).

pub mod subproblem;
