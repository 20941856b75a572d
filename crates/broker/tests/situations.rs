//! All situations that the broker is tried in, as one program: it is linked once, and one command runs a part by name,
//! as in `cargo test -p broker --test situations transactions_end`.

mod a_broker_tells_the_story_of_a_message;
mod a_consumer_far_behind_does_not_hold_up_others;
mod a_repeated_send_is_stored_once;
mod administrators_ask_how_much_there_is;
#[path = "../../store/tests/support/archive.rs"]
mod archive;
mod bad_input_is_refused;
mod batches_of_a_batch_topic_stay_whole;
mod bits_never_change_what_a_consumer_gets;
mod broadcast_readers_move_between_proxy_and_broker;
mod catalogue;
mod clients_that_ask_in_other_ways;
mod clients_with_namespaces;
mod commit_offsets;
mod compacted_topics;
mod consumers_filter_by_properties;
mod disk_does_not_answer_while_sending;
mod disk_error_while_sending;
mod disk_full_while_sending;
mod every_request_code_is_accounted_for;
mod failed_consumption_is_retried_then_dead;
mod fsync_failure_while_sending;
mod fuzz_corpus;
mod groups_that_read_from_disk_have_a_limit;
mod java_extensions_are_read;
mod java_hands_over_open_transactions;
mod killed_broker_forgets_no_decision;
mod lag_is_told_in_messages_and_in_time;
mod light_queues_are_read_without_configuration;
mod long_poll_wakes_only_its_queue;
mod members_hear_of_changes;
mod offsets_are_moved_by_administrators;
mod offsets_file_of_a_java_broker;
mod popped_messages_come_back;
mod questions_are_passed_on_to_consumers;
mod queues_of_a_static_topic_move_between_brokers;
mod replies_reach_who_asked;
mod settings_change_while_the_broker_runs;
mod sql_gives_what_java_gives;
mod support;
mod timer_messages_come_at_their_time;
mod topics_and_groups_are_listed_and_deleted;
mod topics_keep_messages_for_their_own_time;
mod transactions_end;
mod urgent_messages_are_popped_first;
