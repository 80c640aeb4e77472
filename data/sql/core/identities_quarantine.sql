-- Rows that may not count, and the latest row of every edge that was refused for what it would join.
select
    coalesce(c.reason, e.reason) as reason,
    c.column_name,
    case when c.fault_value is not null then concat(substr(c.fault_value, 1, 3), '***') end as masked_value,
    c.user_id,
    cast(null as varchar) as row_id,
    c.source,
    c.file,
    c.file_sha256,
    c.line,
    c.other_id
from identities_checked as c
left join edges_refused as e
    on c.left_id = e.left_id and c.right_id = e.right_id and c.reason is null and c.place_in_pair = 1
where c.reason is not null or e.reason is not null
order by c.source, c.file, c.line
