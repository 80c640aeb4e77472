-- The public catalogue, one row per item.
select
    c.item_id,
    coalesce(c.title, c.description, c.item_id) as title,
    c.description,
    c.category_path,
    c.brand,
    c.price_number as price,
    c.image,
    coalesce(lower(trim(c.availability, ' ')) not in ('0', 'false', 'no', 'out of stock', 'out_of_stock', 'discontinued'), true) as is_available
from items_checked as c
where c.reason is null
order by c.item_id
