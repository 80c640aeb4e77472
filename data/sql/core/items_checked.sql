-- Every landed catalogue row, typed, with the reason why it may not enter core.items.
-- The last row of an item wins: greatest file name, then line. The catalogue is public, so this tells nothing of anybody.
with typed as (
    select
        r.*,
        {{ safe_double('r.price') }} as price_number,
        row_number() over (partition by r.item_id order by r.file desc, r.line desc, r.file_sha256) as place_in_item
    from landed.items as r
)
select
    t.*,
    case
        when t.fault is not null then t.fault
        when t.item_id is null or trim(t.item_id, ' ') = '' then 'missing_item_id'
        when t.price is not null and t.price_number is null then 'unparsable_price'
        when t.price_number < 0 then 'negative_price'
        when t.price_number > 10000000 then 'price_out_of_range'
        when t.place_in_item > 1 then 'superseded'
    end as reason,
    case
        when t.item_id is null or trim(t.item_id, ' ') = '' then 'item_id'
        when t.price is not null and (t.price_number is null or t.price_number < 0 or t.price_number > 10000000) then 'price'
    end as column_name,
    t.price as fault_value
from typed as t
