-- Who changed a schedule last, and who asked for a fire that did not come by the clock.
alter table schedules add column updated_by text;
alter table schedule_fires add column created_by text;
