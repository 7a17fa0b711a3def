//! The rules, case by case: text in `cases/`, read by `case`, checked here. Every case is checked by a test of its name.

mod case;
mod reference;

use std::collections::BTreeSet;

const FILES: [&str; 6] = [
    include_str!("cases/organisation.txt"),
    include_str!("cases/order.txt"),
    include_str!("cases/feasibility.txt"),
    include_str!("cases/preference.txt"),
    include_str!("cases/devices.txt"),
    include_str!("cases/reasons.txt"),
];

/// Cases that are checked with the reference, too: no bad events, budgets or questions why.
const BOTH: [&str; 11] = [
    include_str!("cases/fair.txt"),
    include_str!("cases/reserve.txt"),
    include_str!("cases/victims.txt"),
    include_str!("cases/reclaim.txt"),
    include_str!("cases/preempt.txt"),
    include_str!("cases/consolidate.txt"),
    include_str!("cases/moves.txt"),
    include_str!("cases/budgets.txt"),
    include_str!("cases/over_limit.txt"),
    include_str!("cases/starting.txt"),
    include_str!("cases/hold.txt"),
];

/// Runs one case: what comes out is what it expects, and it expects something.
fn check(name: &str) {
    let cases = case::read_all(&[&FILES[..], &BOTH[..]].concat());
    let mut found = cases.iter().filter(|(known, _)| known == name);
    let (_, lines) = found.next().unwrap_or_else(|| panic!("no case [{name}] in tests/cases"));
    assert!(found.next().is_none(), "two cases [{name}]");
    assert!(lines.lines().any(|line| line.starts_with("> ")), "[{name}] expects nothing");
    let both = case::read_all(&BOTH).iter().any(|(known, _)| known == name);
    if both {
        let said = case::run(lines, case::reference());
        assert!(said == *lines, "[{name}]\n--- expected\n{lines}\n--- the reference\n{said}");
    }
    let really = case::run(lines, case::engine());
    assert!(really == *lines, "[{name}]\n--- expected\n{lines}\n--- really\n{really}");
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
    s11_a_node_without_a_host_name_has_none
    s11_claims_of_one_pod_become_different_volumes
    s11_a_cordoned_node_counts_for_spread_until_it_is_tainted
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
    s11_nodes_that_are_not_ready_are_domains_too
    s11_an_attach_limit_does_not_concern_what_is_attached
    s11_what_pods_on_nodes_take_is_fixed
    s5_a_gang_starts_whole_or_not_at_all
    s5_all_roles_of_a_gang_start_together
    s5_pods_above_the_minimum_come_one_by_one
    s5_a_gang_stays_in_one_pool
    s5_what_failed_is_not_replaced
    s5_an_ended_pod_is_replaced_by_a_new_one
    s8_within_quota_goes_before_over_quota
    s8_then_the_higher_rank
    s8_then_the_smaller_id_of_the_queue
    s8_departments_come_before_projects
    s8_the_first_pool_decides_who_is_within_quota
    s9_priority_then_minimums_then_age
    s9_ties_go_to_the_smaller_id
    s10_the_first_pool_with_room_for_all_takes_it
    s10_without_a_list_every_pool_by_name
    s10_the_project_has_a_default_list
    s10_elastic_pods_stay_in_the_pool
    s32_what_the_budget_leaves_is_taken_up_by_the_next_cycle
    s10_a_workload_is_in_the_pool_of_its_node_now
    s10_pods_in_a_pool_that_is_not_listed_get_no_company
    s9_elastic_pods_of_one_workload_come_by_role
    s32_a_cycle_tries_nothing_twice
    s1_a_node_belongs_to_the_pool_its_label_selects
    s1_a_node_that_matches_two_pools_goes_to_the_first_by_name
    s1_a_node_that_is_labelled_otherwise_changes_its_pool
    s2_an_unset_gpu_quota_is_zero
    s2_a_resource_that_is_not_managed_never_blocks
    s2_a_limit_manages_a_resource_without_a_quota
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
    s12_nodes_that_are_not_ready_do_not_count_for_the_price
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
    s30_a_project_that_moves_makes_room_in_its_department
    s30_a_verdict_falls_when_use_becomes_preemptible
    s30_mib_come_to_less_on_a_larger_device
    s30_two_gangs_that_do_not_fit_do_not_wake_each_other
    s30_a_pod_placed_lets_its_friend_start
    s30_those_who_left_a_queue_do_not_hold_up_others
    s30_a_bind_that_failed_is_tried_again
    s29_without_devices_mib_ask_for_nothing_of_the_quota
    s29_what_is_forbidden_by_other_pods_is_not_the_closest
    s29_volumes_that_cannot_be_attached
    s7_the_first_part_is_the_quota_as_far_as_it_is_wanted
    s7_where_quotas_exceed_capacity_shares_do_too
    s7_the_rest_goes_by_weight
    s7_a_weight_that_is_not_set_is_the_quota_in_devices
    s7_weight_zero_gets_nothing_of_the_rest_and_may_use_what_is_idle
    s7_the_rest_goes_to_higher_ranks_first
    s7_what_remains_goes_to_the_largest_remainder
    s7_then_to_the_older_queue
    s7_the_limit_bounds_the_share
    s7_what_is_not_managed_has_no_share_and_takes_nothing
    s7_departments_first_then_their_projects
    s7_capacity_is_open_and_healthy_less_the_unmanaged
    s7_demand_is_what_could_run
    s8_then_the_smaller_share
    s8_an_unlimited_quota_makes_the_share_nothing
    s8_then_the_smaller_share_without_the_workload
    s8_then_the_smaller_quota
    s8_then_the_older_queue
    s23_the_room_of_those_who_leave_is_kept
    s23_it_starts_when_the_last_is_gone_even_if_early
    s23_a_gang_starts_together
    s23_two_have_room_kept_on_one_node
    s23_before_anybody_is_evicted
    s23_a_place_that_is_free_now_goes_before_one_that_will_be
    s23_who_could_start_by_now_waits_for_the_next_cycle
    s23_kept_room_counts_for_the_limit
    s23_whoever_leaves_elsewhere_may_be_what_the_limit_waits_for
    s23_kept_for_a_workload_that_changes_as_long_as_it_will_do
    s23_room_above_a_limit_is_kept_until_others_are_gone
    s20_who_fits_beside_others_leaves_the_next_a_victim
    s22_a_smaller_unit_goes_first_whenever_it_is_taken
    s22_without_a_project_nothing_is_reclaimed
    s24_who_goes_whole_goes_with_its_pods_that_were_taken_before
    s20_a_label_that_nobody_asked_about_before
    s20_no_room_on_a_node_that_is_not_ready
    s29_who_waits_for_more_room_is_told_again
    s23_given_up_with_the_workload
    s23_given_up_when_the_node_is_lost
    s23_given_up_when_the_device_is_lost
    s23_given_up_when_a_gate_shuts
    s23_an_eviction_that_fails_gives_up_the_room
    s23_the_grace_is_the_workloads_own
    s23_without_a_beneficiary_victims_are_nobodys_and_leave_all_the_same
    s23_a_pod_that_outlives_its_grace_is_reported_once
    s19_a_pod_over_its_limit_is_reported_once
    s20_one_workload_rather_than_two
    s20_nobody_without_whom_there_would_be_room
    s20_least_lost_work
    s20_lost_work_of_cpus_decides_where_that_of_gpus_does_not
    s20_then_the_most_recently_started
    s20_then_the_smaller_id
    s20_a_pod_above_the_minimum_costs_nothing
    s20_the_minimum_runtime_protects
    s20_the_longest_running_pod_counts_for_the_minimum_runtime
    s20_a_fraction_gives_way_to_a_fraction
    s20_a_whole_device_needs_all_who_share_it_gone
    s20_what_can_be_put_back_is_no_victim
    s20_pods_that_leave_already_count_as_room
    s24_below_its_minimum_the_whole_gang_goes
    s24_what_is_above_the_minimum_goes_alone
    s24_no_more_goes_alone_than_is_above_the_minimum
    s24_succeeded_pods_count_towards_the_minimum
    s25_no_ping_pong
    s25_an_unchanged_cluster_sees_no_further_eviction
    s27_a_gang_below_its_minimum_goes_after_a_minute
    s27_a_gang_that_recovers_in_time_stays
    s27_its_own_bound
    s27_since_when_as_written_down
    s27_every_role_has_its_minimum
    s27_an_eviction_that_fails_begins_the_time_anew
    s27_what_is_not_preemptible_stays_stale
    s28_non_preemptible_workloads_are_never_victims
    s22_a_project_gets_its_quota_back
    s22_who_is_exactly_at_its_share_is_not_above_it
    s22_what_is_over_quota_is_divided_fairly
    s22_no_further_than_the_fair_share
    s22_the_last_unit_may_take_its_queue_below
    s22_only_the_last_unit_may
    s22_the_gang_goes_after_its_own_pods_above_the_minimum
    s22_by_quota_where_by_fair_share_nobody_is_above
    s22_by_fair_share_before_by_quota
    s22_victims_of_lower_rank_first
    s22_beyond_the_quota_only_what_can_be_taken_back_is_reclaimed
    s22_the_quota_gate_is_never_passed
    s22_the_reclaimers_department_stays_within_its_bound
    s22_the_victims_department_must_be_above_its_bound
    s22_cpus_are_taken_back_where_they_are_managed
    s22_what_is_not_managed_is_not_guaranteed
    s22_a_limit_is_passed_by_victims_under_it
    s22_a_gang_takes_from_several
    s22_a_gang_takes_from_several_of_its_own_department
    s22_a_gang_takes_nothing_if_it_cannot_have_all
    s22_unmanaged_namespaces_are_left_alone
    s22_room_that_one_made_serves_the_next
    s32_reclaim_is_tried_before_preempt
    s32_a_phase_is_for_all_before_the_next
    s21_the_lower_priority_gives_way
    s21_never_the_same_priority
    s21_only_inside_the_project
    s21_the_lowest_highest_priority
    s21_a_limit_of_the_project_is_passed_by_its_own
    s21_not_for_the_quota_gate
    s21_anti_affinity_says_who_must_go
    s21_affinity_keeps_those_one_wants_to_be_near
    s21_a_gang_makes_room_in_one_rack
    s21_unmanaged_pods_go_by_priority_alone
    s21_a_pod_above_its_minimum_preempts_too
    s26_fragments_are_brought_together
    s26_least_running_time_is_thrown_away
    s26_it_can_be_switched_off
    s26_no_more_than_so_many_move
    s26_a_gang_moves_whole
    s26_only_if_everyone_has_a_new_place
    s26_non_preemptible_workloads_are_not_moved
    s26_who_is_moved_keeps_its_new_place
    s20_a_budget_protects
    s20_no_more_than_the_budget_allows
    s20_what_is_decided_counts_until_the_budget_says_so
    s20_a_gang_needs_the_budget_for_all_its_pods
    s20_a_pod_with_two_budgets_is_no_victim
    s20_a_budget_is_about_its_namespace
    s20_a_budget_that_goes_protects_no_more
    s20_an_eviction_that_is_refused_leaves_the_budget_as_it_was
    s27_a_stale_gang_waits_for_its_budget
    s9_one_who_has_waited_too_long_has_room_held
    s9_a_project_may_have_nothing_held
    s9_a_hold_goes_with_the_one_for_whom_it_is
    s9_a_hold_binds_nobody_of_higher_priority
    s8_a_hold_binds_those_who_use_less_but_are_over_quota_too
    s8_a_hold_binds_nobody_within_its_quota
    s8_a_hold_binds_nobody_of_higher_rank
    s9_only_the_nodes_with_least_on_them_are_held
    s9_the_first_has_room_held_until_those_there_have_said_to_be_done
    s9_who_does_not_stand_in_the_way_starts
    s9_nothing_is_held_for_the_first_while_somebody_has_not_said_until_when
    s9_who_runs_for_longer_than_it_said_holds_nobody_up
    s8_before_it_is_too_long_who_goes_first_is_not_bound
    s23_a_gang_is_held_room_on_several_nodes
    s29_room_that_is_held_says_for_whom_and_until_when
    s29_room_that_is_held_for_as_long_as_it_takes
    s19_who_is_over_its_limit_goes_where_that_is_wanted
    s19_what_is_not_preemptible_goes_only_if_that_is_said_too
    s28_what_is_critical_to_the_system_never_goes
    s19_where_guarantees_are_threatened_the_largest_excess_goes_first
    s19_of_equal_excess_the_most_recent_start_goes_first
    s19_what_fits_stays
    s24_a_gang_goes_whole_for_one_that_uses_too_much
    s24_above_the_minimum_it_goes_alone
    s5_a_gang_that_does_not_start_in_time_waits_anew
    s5_what_runs_in_time_stays
    s5_above_the_minimum_only_what_does_not_start_goes
    s5_without_a_timeout_it_may_take_for_ever
    s8_who_cannot_be_helped_has_his_turn_when_others_take_back
    s22_nobody_is_stopped_only_to_pass_by_what_is_held
    s9_who_is_bound_no_more_starts_in_the_next_cycle
    s7_each_role_above_the_minimums_is_demand_by_itself
    s9_who_has_no_minimum_may_say_for_how_long_it_runs_too
    s13_mib_go_to_a_device_whose_charge_passes_the_gate
    s3_what_runs_is_adopted_before_anybody_is_evicted
    s3_a_stale_gang_is_adopted_too
    s9_if_the_first_cannot_be_helped_in_time_nobody_is
    s30_behind_a_quota_that_is_raised_is_a_limit_at_which_taking_back_helps
    s9_the_next_of_its_kind_may_have_waited_for_longer
    s8_a_hold_binds_whose_turn_comes_after_that_of_all_others
    s9_a_bound_that_becomes_shorter_counts_at_once
    s13_room_on_a_device_that_is_another_now_is_given_up
    s30_room_that_goes_with_whom_it_was_kept_for_lets_others_have_their_quota
    s25_three_do_not_take_from_each_other_in_turn
    s25_nor_do_three_of_whom_two_run_at_a_time
    s20_what_does_not_pay_for_a_limit_hides_nobody_who_does
    s11_a_pod_that_is_moved_to_its_own_place_counts_twice
    s26_an_eviction_that_was_not_begun_cannot_fail
    s26_who_is_moved_is_stopped_when_its_place_is_free
    s26_three_are_moved_one_after_the_other
    s26_an_eviction_that_fails_stops_nobody_behind_it
    s26_who_need_not_go_any_more_stays
    s26_those_who_wait_in_a_circle_are_stopped_together
    s33_who_was_to_be_moved_before_a_restart_still_is
    s26_who_ends_by_itself_leaves_its_place_and_needs_none
    s26_whose_owner_stops_it_is_not_moved
    s28_who_may_not_be_stopped_any_more_stays
    s26_a_gang_is_stopped_when_all_its_places_are_free
    s27_who_is_to_be_moved_has_its_minimum_until_it_is_stopped
}

#[test]
fn every_case_is_checked() {
    let all = case::read_all(&[&FILES[..], &BOTH[..]].concat());
    let written: BTreeSet<String> = all.into_iter().map(|(name, _)| name).collect();
    let checked: BTreeSet<String> = CHECKED.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(written, checked, "cases written (left) and checked");
}

#[test]
fn every_rule_has_a_case() {
    for rule in (1..=32).filter(|rule| *rule != 4) {
        let prefix = format!("s{rule}_");
        assert!(CHECKED.iter().any(|name| name.starts_with(&prefix)), "no case for S{rule}");
    }
}
