//! All situations that the store is tried in, as one program: it is linked once, and one command runs a part by name,
//! as in `cargo test -p store --test situations old_segments_expire`.

mod a_flipped_bit_is_never_served;
mod a_flipped_bit_of_the_timer_is_survived;
mod a_store_is_repaired;
mod a_store_is_verified;
mod a_store_that_is_dropped_leaves_nothing;
#[path = "support/archive.rs"]
mod archive;
mod clean_stop_then_open;
mod compacted_topics_keep_the_last_message_of_each_key;
mod compaction;
mod compaction_crash_histories;
mod compaction_meets_a_failing_disk;
mod config_files_survive_crashes;
mod crash_histories;
mod deleted_topics_stay_deleted;
mod disk_full_while_appending;
mod disk_hangs_while_appending;
mod entries_are_taken_from_a_journal;
mod extensions_of_queue_entries;
mod foreign_stores;
mod fsync_failure_makes_store_read_only;
mod histories;
mod index_goes_on_from_its_mark;
mod inner_batches_take_many_offsets;
mod java_batch_store_opens;
mod java_compaction_store_opens;
mod java_store_opens;
mod java_timer_store_opens;
mod light_queues_name_messages_of_topics;
mod many_queues_are_taken_from_a_table;
mod offset_by_time;
mod old_segments_expire;
mod options_change_while_the_store_is_open;
mod query_by_key_after_unclean_stop;
mod queue_files_cannot_be_written;
mod queue_files_deleted_are_rebuilt;
mod reading_a_queue;
mod reading_what_is_not_in_memory;
mod segment_roll_keeps_batches_whole;
mod support;
mod timer;
mod timer_crash_histories;
mod timer_messages_are_exact;
mod topics_keep_messages_for_their_own_time;
mod torn_tail_after_power_loss;
