//! make demo: rotations on a real control plane while applications log in
