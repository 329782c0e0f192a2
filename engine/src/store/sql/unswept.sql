-- Workers that ended and may have left something behind.
select id from workers where ended_at is not null and not swept order by ended_at limit 50
