-- What a whole table set aside, with the value at fault masked; repeats of a row are counted, not shown.
select
    c.reason,
    c.column_name,
    case when c.column_name is not null and c.fault_value is not null then {{ masked('c.fault_value') }} end as masked_value,
    {{ user_id }} as user_id,
    {{ row_id }} as row_id,
    c.source,
    c.file,
    c.file_sha256,
    c.line
from {{ checked }} as c
where c.reason is not null and c.reason <> 'repeated'
order by c.source, c.file, c.line
