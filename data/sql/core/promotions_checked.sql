-- Every landed row of promotions of the attached days, with the first reason why it may not enter core.promotions
-- (null: it may).
with judged as (
    select
        r.*,
        case
            when r.fault is not null then r.fault
            when r.item_id is null or trim(r.item_id, ' ') = '' then 'missing_item_id'
            when r.valid_from_utc is null or r.valid_until_utc is null then 'unreadable_validity'
            when r.valid_until_utc <= r.valid_from_utc then 'ends_before_start'
            when i.item_id is null then 'unknown_item'
        end as reason
    from landed.promotions as r
    left join core.items as i on r.item_id = i.item_id
)
select
    j.*,
    case
        when j.reason in ('missing_item_id', 'unknown_item') then 'item_id'
        when j.reason = 'unreadable_validity' and j.valid_from_utc is null then 'valid_from_utc'
        when j.reason in ('unreadable_validity', 'ends_before_start') then 'valid_until_utc'
    end as column_name,
    v.input_version
from judged as j
join input_versions as v on j.day = v.day
