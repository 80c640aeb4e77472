-- Every landed catalogue row, typed, with the reason why it may not enter core.items.
-- Of the faultless rows of an item, one that names or describes it comes before one that does not; then the newest wins:
-- latest time where the source has one, then greatest file name, then line. Rows that say the same as a kept or
-- superseded one are repeats, which are counted alone. The catalogue is public, so this tells nothing of anybody.
with typed as (
    select
        r.*,
        {{ safe_double('r.price') }} as price_number,
        case when r.title is null and r.description is null then 1 else 0 end as is_nameless,
        sha256(concat_ws(
            '|', r.item_id, coalesce(r.title, ''), coalesce(r.description, ''), coalesce(r.category_path, ''),
            coalesce(r.brand, ''), coalesce(r.price, ''), coalesce(r.image, ''), coalesce(r.availability, '')
        )) as content
    from landed.items as r
),
judged as (
    select
        t.*,
        case
            when t.fault is not null then t.fault
            when t.item_id is null or trim(t.item_id, ' ') = '' then 'missing_item_id'
            when t.price is not null and t.price_number is null then 'unparsable_price'
            when t.price_number < 0 then 'negative_price'
            when t.price_number > 10000000 then 'price_out_of_range'
        end as fault_found
    from typed as t
),
placed as (
    select
        j.*,
        row_number() over (
            partition by j.item_id, j.fault_found is null
            order by j.is_nameless, j.updated_at_utc desc nulls last, j.file desc, j.line desc, j.file_sha256
        ) as place_in_item,
        row_number() over (
            partition by j.item_id, j.fault_found is null, j.content
            order by j.updated_at_utc desc nulls last, j.file desc, j.line desc, j.file_sha256
        ) as place_in_content
    from judged as j
)
select
    p.*,
    case
        when p.fault_found is not null then p.fault_found
        when p.place_in_content > 1 then 'repeated'
        when p.place_in_item > 1 then 'superseded'
    end as reason,
    case
        when p.fault_found = 'missing_item_id' then 'item_id'
        when p.fault_found in ('unparsable_price', 'negative_price', 'price_out_of_range') then 'price'
    end as column_name,
    p.price as fault_value
from placed as p
