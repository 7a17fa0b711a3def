//! The rules, case by case: text in `cases/`, read by `case`, checked here. Every case is checked by a test of its name.
//!
//! With `BLESS=1` and `--test-threads 1` the expected lines are written anew from what comes out; read the difference
//! before you keep it.

mod case;

use std::collections::BTreeSet;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// Runs one case: what comes out is what it expects, and it expects something.
fn check(name: &str) {
    let cases = case::read_all(&folder());
    let mut found = cases.iter().filter(|(known, _)| known == name);
    let (_, lines) = found.next().unwrap_or_else(|| panic!("no case [{name}] in tests/cases"));
    assert!(found.next().is_none(), "two cases [{name}]");
    assert!(lines.lines().any(|line| line.starts_with("> ")), "[{name}] expects nothing");
    let really = case::run(lines);
    if std::env::var_os("BLESS").is_some() {
        bless(name, lines, &really);
        return;
    }
    assert!(really == *lines, "[{name}]\n--- expected\n{lines}\n--- really\n{really}");
}

/// Writes what really comes out into the file of the case.
fn bless(name: &str, lines: &str, really: &str) {
    use std::sync::Mutex;
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    for file in std::fs::read_dir(folder()).expect("the folder").flatten() {
        let text = std::fs::read_to_string(file.path()).expect("a file");
        let (old, new) = (format!("[{name}]\n{lines}"), format!("[{name}]\n{really}"));
        if text.contains(&old) {
            std::fs::write(file.path(), text.replace(&old, &new)).expect("the file can be written");
        }
    }
}

macro_rules! cases {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        const CHECKED: &[&str] = &[$(stringify!($name)),*];
    };
}

cases! {
    s13_n_shares_of_one_nth_fit
    s13_a_share_is_rounded_down_and_at_least_one_mib
    s13_a_fraction_of_several_devices_takes_devices_of_one_size
    s13_mib_are_what_was_asked_for
    s14_the_limit_is_the_request_unless_it_is_more
    s15_binpack_takes_the_shared_device_with_least_left
    s15_spread_takes_the_emptiest
    s16_whole_and_shared_never_mix
    s17_foreign_memory_is_not_given_out
    s18_an_unhealthy_device_takes_nothing_new
    s18_a_device_that_is_no_longer_reported_is_lost
    s11_resources_and_pod_count
    s11_what_is_not_asked_for_cannot_be_short
    s11_taints_and_tolerations
    s11_a_toleration_without_key_tolerates_everything
    s11_cordoned_and_unready_nodes_take_nothing
    s11_node_selector_and_affinity
    s11_a_node_is_known_by_name_and_by_hostname
    s11_host_ports
    s11_host_ports_follow_a_pod_whose_position_changes
    s11_pod_affinity
    s11_the_first_of_those_who_want_to_be_together_goes_anywhere
    s11_affinity_counts_pods_that_meet_all_terms
    s11_pod_anti_affinity_holds_both_ways
    s11_anti_affinity_within_a_gang
    s11_topology_spread
    s11_leaving_pods_do_not_count_for_spread
    s11_with_too_few_domains_the_emptiest_counts_as_nothing
    s11_volumes_are_reachable_attachable_and_exclusive
    s11_a_local_volume_is_on_one_node
    s11_a_node_type_is_mandatory_where_there_is_a_rule
    s11_a_node_type_rule_holds_for_those_who_wait_already
    s11_scheduling_gates
    s11_gpus_by_number_and_health
    s5_a_gang_starts_whole_or_not_at_all
    s5_all_roles_of_a_gang_start_together
    s5_pods_above_the_minimum_come_one_by_one
    s5_a_gang_stays_in_one_pool
    s5_what_failed_is_not_replaced
    s8_within_quota_goes_before_over_quota
    s8_then_the_higher_rank
    s8_then_the_older_workload
    s8_departments_come_before_projects
    s8_the_first_pool_decides_who_is_within_quota
    s9_priority_then_minimums_then_age
    s9_ties_go_to_the_smaller_id
    s10_the_first_pool_with_room_for_all_takes_it
    s10_without_a_list_every_pool_by_name
    s10_the_project_has_a_default_list
    s10_elastic_pods_stay_in_the_pool
    s32_what_the_budget_leaves_is_taken_up_by_the_next_cycle
    s1_a_node_belongs_to_the_pool_its_label_selects
    s1_a_node_that_matches_two_pools_goes_to_the_first_by_name
    s1_a_node_that_is_labelled_otherwise_changes_its_pool
    s2_an_unset_gpu_quota_is_zero
    s2_a_resource_that_is_not_managed_never_blocks
    s2_unlimited_is_within_quota
    s3_unmanaged_namespaces_have_no_gates
    s6_exact_equality_passes
    s6_the_quota_holds_only_what_cannot_be_preempted
    s6_the_limit_holds_all
    s6_the_department_is_a_gate_too
    s6_leaving_pods_count_until_they_are_gone
    s6_cpu_and_memory_are_gates_when_managed
    s6_the_gate_is_asked_for_what_the_pod_asks_for_only
    s6_mib_are_charged_as_the_device_they_are_of
    s12_a_preferred_node_goes_before_packing
    s12_a_node_preferred_by_name
    s12_rather_not_on_a_tainted_node
    s12_least_stranding_keeps_devices_for_those_who_need_many
    s12_nodes_that_are_not_ready_do_not_count_for_the_price
    s12_spread_takes_the_emptiest
    s12_ties_go_to_the_smaller_node
    s12_cpu_pods_keep_away_from_gpus_that_others_wait_for
    s12_near_to_those_one_likes
    s31_a_gang_in_one_rack
    s31_required_and_nowhere_room_in_one_rack
    s31_preferred_and_nowhere_room_in_one_rack
    s31_what_is_replaced_goes_to_the_rack_of_the_others
    s31_pods_above_the_minimum_may_go_elsewhere
    s31_the_best_linked_devices
    s23_room_is_free_only_when_the_pod_is_gone
    s27_succeeded_pods_count_towards_the_minimum
    s29_quota
    s29_limit
    s29_after_the_gate_comes_room
    s29_policy
    s29_pool
    s29_feasibility
    s29_capacity
    s29_capacity_of_memory
    s29_nodes_that_are_gone_leave_no_capacity
    s29_several_pools_tell_the_nearest
    s29_a_reason_is_given_once
    s29_one_reason_for_a_workload_with_two_roles
    s30_a_verdict_falls_when_there_is_room
    s30_a_verdict_falls_when_the_next_gate_opens
    s30_a_verdict_falls_when_pods_move_to_another_pool
    s30_a_node_brings_its_room_to_another_pool
    s30_two_gangs_that_do_not_fit_do_not_wake_each_other
    s30_a_pod_placed_lets_its_friend_start
    s30_those_who_left_a_queue_do_not_hold_up_others
    s30_a_bind_that_failed_is_tried_again
}

#[test]
fn every_case_is_checked() {
    let written: BTreeSet<String> = case::read_all(&folder()).into_iter().map(|(name, _)| name).collect();
    let checked: BTreeSet<String> = CHECKED.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(written, checked, "cases written (left) and checked");
}

#[test]
fn every_rule_of_allocation_has_a_case() {
    for rule in [1, 2, 3, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 23, 27, 29, 30, 31, 32] {
        let prefix = format!("s{rule}_");
        assert!(CHECKED.iter().any(|name| name.starts_with(&prefix)), "no case for S{rule}");
    }
}
