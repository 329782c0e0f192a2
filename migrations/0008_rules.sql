-- Two rules that hot statements need inside the server. Both are inlined by the planner.

-- What a priority adds to the moment a task became ready (engine::priority).
create function priority_offset(priority smallint) returns interval
language sql immutable parallel safe
return make_interval(secs => (array[-86400, -600, 0, 1800, 21600])[priority + 1]);

-- What becomes of a waiting row when some of its needs (or children) ended: 0 it waits on, 1 it
-- is ready, 2 the control loop has to decide it. "left" and "bad" are the counters after the
-- change, "good" the needs among those ended now that completed or whose failure was allowed.
-- flags: 2 plain, 4 join any, 8 join all_done (engine::store::flags).
create function disposition(
    state smallint, undecided boolean, flags smallint, "left" integer, bad integer, good bigint
) returns integer
language sql immutable parallel safe
return case
    when undecided then 0
    when state = 4 then case when "left" = 0 then 2 else 0 end
    when flags & 4 <> 0 and good > 0 then case when flags & 2 <> 0 then 1 else 2 end
    when "left" > 0 then 0
    when flags & 4 <> 0 then 2
    when flags & 2 <> 0 and (bad = 0 or flags & 8 <> 0) then 1
    else 2
end;
