//! The strategies by name, as they are written on the command line and in scenario files.

use berth_model::Strategy;

/// All strategies, in the order in which they are compared if none is named.
pub const STRATEGIES: [(&str, Strategy); 4] = [
    ("binpack", Strategy::Binpack),
    ("spread", Strategy::Spread),
    ("bestfit", Strategy::BestFit),
    ("fgd", Strategy::Fgd),
];

/// The strategy with this name; else what is wrong and which names there are.
pub fn strategy(name: &str) -> Result<Strategy, String> {
    let found = STRATEGIES.iter().find(|(known, _)| *known == name);
    let known = || STRATEGIES.map(|(known, _)| known).join(", ");
    found
        .map(|(_, strategy)| *strategy)
        .ok_or_else(|| format!("{name:?} is no strategy; allowed: {}", known()))
}

/// The name of a strategy.
pub fn strategy_name(strategy: Strategy) -> &'static str {
    STRATEGIES.iter().find(|(_, known)| *known == strategy).map_or("unknown", |(name, _)| name)
}
